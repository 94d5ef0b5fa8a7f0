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

/** Reads the options that all commands share. */
export function connect(command: Command): Connection {
  const flags = command.optsWithGlobals<Flags>();
  const to = target(flags);
  for (const line of to.passedOver) command.configureOutput().writeErr?.(line);
  return connection(to, flags.json === true);
}

export function connection(to: Omit<Target, 'passedOver'>, json: boolean): Connection {
  const token = to.token === undefined ? {} : { token: to.token };
  return {
    target: to,
    json,
    client: createClient({ url: to.url, ...token, fetch: fetch as never }),
    live: (options = {}) =>
      openLive({
        url: to.url,
        ...token,
        WebSocket: WebSocket as unknown as SocketClass,
        ...options,
      }),
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
