import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, normalize, resolve } from 'node:path';
import { isPrivate, isTracked, whyForeign, whyNotSecret } from '@impgem/kit';
import { UsageError } from './exit-codes.js';

/** Where the master is and how to prove who we are. */
export interface Target {
  url: string;
  token: string | undefined;
  /** Where the token came from, for messages. */
  from: string;
  /** Files that were found and not used, each with the reason, for people. */
  passedOver: string[];
}

export const DEFAULT_PORT = 8010;
const DEFAULT_URL = `http://127.0.0.1:${DEFAULT_PORT}`;
/** Where `impgem up` keeps its farm when nothing else is said. */
export const DEFAULT_DATA = '.impgem';
/** Of a file that names a master. */
const MOST_BYTES = 16 * 1024;

type Environment = Record<string, string | undefined>;

/** What the check of a folder needs of this machine. */
export const folderHost = { fs, spawnSync, uid: process.getuid?.() };

/**
 * Flags before environment, before the farm that `impgem up` runs in this folder, before the user's file
 * (`~/.config/impgem/client.json`). Address and token are taken from one place. The current folder may have been
 * filled by anybody: its file counts when it is this user's own, names a secret of that same folder, and an address of
 * this machine or the one that was asked for.
 */
export function target(
  flags: { url?: string; token?: string },
  env: Environment = process.env,
  cwd = process.cwd(),
): Target {
  const given = flags.url ?? env.IMPGEM_URL;
  const url = given === undefined ? undefined : checked(given);
  const token = flags.token ?? env.IMPGEM_TOKEN;
  const passedOver: string[] = [];
  if (token !== undefined && token !== '' && !/^[\x21-\x7e]{1,500}$/.test(token))
    throw new UsageError('the token that was given has characters that no token has');
  if (token)
    return {
      url: url ?? DEFAULT_URL,
      token,
      from: flags.token ? '--token' : 'IMPGEM_TOKEN',
      passedOver,
    };
  const others: string[] = [];
  for (const find of [() => ofFolder(cwd, url), () => ofUser(env)]) {
    const found = find();
    if (!found) continue;
    const { file, read } = found;
    if (typeof read === 'string') passedOver.push(`found ${file}, passed over: ${read}`);
    else if (url === undefined || url === read.url) return { ...read, from: file, passedOver };
    else others.push(`found ${file}, passed over: it is of ${read.url}, not of ${url}`);
  }
  passedOver.push(...others);
  return { url: url ?? DEFAULT_URL, token: undefined, from: 'nowhere', passedOver };
}

function checked(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed && /^https?:$/.test(parsed.protocol)) return url.replace(/\/+$/, '');
  throw new UsageError(`${url} is not an address of a master; give one such as ${DEFAULT_URL}`);
}

interface Found {
  file: string;
  /** Words: why it is not used. */
  read: { url: string; token: string } | string;
}

/** What `impgem up` has written into the data folder here. */
function ofFolder(cwd: string, asked: string | undefined): Found | undefined {
  const folder = join(cwd, DEFAULT_DATA);
  const file = join(folder, 'client.json');
  if (!fs.existsSync(file)) return undefined;
  const foreign = whyForeign(folderHost, cwd, [DEFAULT_DATA]);
  // A farm of a version that did not mark its folder: closed folders do not come from git.
  if (foreign !== undefined && (!isPrivate(folderHost, folder) || isTracked(folderHost, folder)))
    return {
      file,
      read: `the folder ${foreign}; if it is your farm's, start it once with impgem up --data ${folder}`,
    };
  const problem = whyNotSecret(folderHost, file);
  if (problem !== undefined) return { file, read: `it ${problem}` };
  try {
    const { url, token, tokenFile } = clientFile(file);
    if (url !== asked && !isLoopback(url))
      return {
        file,
        read: `it names another machine, ${url}; if you want that, give --url ${url}`,
      };
    return { file, read: { url, token: token ?? secretBelow(folder, tokenFile) } };
  } catch (error) {
    return { file, read: (error as Error).message };
  }
}

/** The token in a file of this very folder. */
function secretBelow(folder: string, tokenFile: string): string {
  const inside = normalize(tokenFile);
  if (isAbsolute(inside) || inside.split('/').includes('..'))
    throw new Error(`it names a file outside of its folder, ${tokenFile}`);
  const file = join(folder, inside);
  const problem = whyNotSecret(folderHost, file);
  if (problem !== undefined) throw new Error(`${file} ${problem}`);
  if (fs.realpathSync(file) !== join(fs.realpathSync(folder), inside))
    throw new Error(`${file} lies behind a link`);
  const token = fs.readFileSync(file, 'utf8').trim();
  if (!/^igt_[\w-]{1,200}$/.test(token)) throw new Error(`${file} holds no API token`);
  return token;
}

/** The user's own file, which may name any master and any file. */
function ofUser(env: Environment): Found | undefined {
  const home = env.XDG_CONFIG_HOME;
  const folder = home && isAbsolute(home) ? home : homeOf();
  if (folder === undefined) return undefined;
  const file = join(folder, 'impgem', 'client.json');
  if (!fs.existsSync(file)) return undefined;
  // Root may set it for all, as the image of the master does; root reads and writes what is the user's anyway.
  if (![0, process.getuid?.()].includes(fs.statSync(file).uid))
    return { file, read: 'it belongs to another user' };
  try {
    const { url, token, tokenFile } = clientFile(file);
    return {
      file,
      read: { url, token: token ?? fs.readFileSync(resolve(file, '..', tokenFile), 'utf8').trim() },
    };
  } catch (error) {
    throw new UsageError(`${file} cannot be used: ${(error as Error).message}`, { cause: error });
  }
}

/** A user without a name, as in a container, has none. */
function homeOf(): string | undefined {
  try {
    return join(homedir(), '.config');
  } catch {
    return undefined;
  }
}

/** `{ url, token }` or `{ url, tokenFile }`. Throws with what is wrong. */
function clientFile(
  file: string,
): { url: string } & ({ token: string; tokenFile?: never } | { token?: never; tokenFile: string }) {
  if (fs.statSync(file).size > MOST_BYTES) throw new Error('it is too long');
  let read: unknown;
  try {
    read = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw error instanceof SyntaxError ? new Error('it is not JSON') : error;
  }
  const { url, token, tokenFile } = (read ?? {}) as Record<string, unknown>;
  if (typeof url !== 'string') throw new Error('it has no url');
  if (typeof token === 'string' && token !== '') return { url: checked(url), token };
  if (typeof tokenFile === 'string' && tokenFile !== '') return { url: checked(url), tokenFile };
  throw new Error('it has neither token nor tokenFile');
}

function isLoopback(url: string): boolean {
  const { hostname, username, password } = new URL(url);
  const isNamed = hostname === 'localhost' || hostname === '[::1]';
  return (isNamed || /^127(?:\.\d{1,3}){3}$/.test(hostname)) && username + password === '';
}

/** NO_COLOR (no-color.org): set and not empty. */
export const noColour = (env: Environment = process.env): boolean => Boolean(env.NO_COLOR);

/**
 * For the programs that this one starts: the environment as it is, and what they need beside it. With glibc's default of
 * eight arenas for each processor, what threads have freed stays with the process.
 */
export function inherited(more: Record<string, string | undefined> = {}): Environment {
  return { MALLOC_ARENA_MAX: '2', ...process.env, ...more };
}

/** What `npm start` prepares for the quick start. */
export const quickstartImage = (env: Environment = process.env): string | undefined =>
  env.IMPGEM_QUICKSTART_IMAGE;
