import {
  createClient,
  openLive,
  type Build,
  type Client,
  type Live,
  type LiveOptions,
  type SocketClass,
} from '@impgem/client';
import type { Command } from 'commander';
import { WebSocket } from 'ws';
import { target, type Target } from './config.js';
import { UsageError } from './exit-codes.js';
import type { Terminal } from './terminal.js';

/** What every command gets. */
export interface Cli {
  terminal: Terminal;
  /** Ends with Ctrl-C and SIGTERM. */
  signal: AbortSignal;
  /** Called by a command whose exit code is not 0 though nothing went wrong in it. */
  exit(code: number): void;
}

export interface Connection {
  target: Omit<Target, 'passedOver'>;
  client: Client;
  live(options?: Pick<LiveOptions, 'onState' | 'onRefused'>): Live;
  /** `--json` was given. */
  json: boolean;
}

interface Flags {
  url?: string;
  token?: string;
  json?: boolean;
}

/** What each program was made with, and the master that it asked; its commands have only each other. */
const GEAR = new WeakMap<Command, Omit<Cli, 'exit'> & { asked?: string }>();

export function equip(program: Command, cli: Omit<Cli, 'exit'>): void {
  GEAR.set(program, { ...cli });
}

/** The address of the master that a command of the program has asked. */
export const askedBy = (program: Command): string | undefined => GEAR.get(program)?.asked;

/** Reads the options that all commands share. */
export function connect(command: Command): Connection {
  const flags = command.optsWithGlobals<Flags>();
  const to = target(flags);
  let root = command;
  while (root.parent) root = root.parent;
  const gear = GEAR.get(root);
  for (const line of to.passedOver) gear?.terminal.say(line);
  if (gear) gear.asked = to.url;
  return connection(to, flags.json === true, gear?.signal);
}

export function connection(
  to: Omit<Target, 'passedOver'>,
  json: boolean,
  signal?: AbortSignal,
): Connection {
  const token = to.token === undefined ? {} : { token: to.token };
  return {
    target: to,
    json,
    client: createClient({ url: to.url, ...token, fetch: patientFetch(signal) as never }),
    live: (options = {}) =>
      openLive({
        url: to.url,
        ...token,
        WebSocket: WebSocket as unknown as SocketClass,
        ...options,
      }),
  };
}

/** A master that has taken a request and says nothing for so long is away, in milliseconds. */
const ANSWER_MS = 60_000;

/** Fetches until Ctrl-C, and until an answer has begun in time. */
function patientFetch(interrupt: AbortSignal = new AbortController().signal): typeof fetch {
  return async (input, init = {}) => {
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new Error(`no answer within ${ANSWER_MS / 1000} s`)),
      ANSWER_MS,
    );
    const signals = [interrupt, late.signal, ...(init.signal ? [init.signal] : [])];
    try {
      return await fetch(input, { ...init, signal: AbortSignal.any(signals) });
    } finally {
      clearTimeout(timer);
    }
  };
}

/** A build named by its id, or by builder and number: `17`, `hello#3`, `hello/3`. */
export async function findBuild(client: Client, name: string): Promise<number> {
  if (/^\d{1,15}$/.test(name)) return Number(name);
  const parts = /^([\w.-]+)[#/](\d{1,9})$/.exec(name);
  if (!parts?.[1]) throw new UsageError(`${name} names no build; write its id, or BUILDER#NUMBER`);
  return (await client.builds.byNumber(parts[1], Number(parts[2]))).id;
}

export const titleOf = ({ builder, number }: Pick<Build, 'builder' | 'number'>): string =>
  `${builder} #${number}`;
