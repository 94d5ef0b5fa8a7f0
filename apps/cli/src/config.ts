import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { UsageError } from './exit-codes.js';

/** Where the master is and how to prove who we are. */
export interface Target {
  url: string;
  token: string | undefined;
  /** Where the token came from, for messages. */
  from: string;
}

export const DEFAULT_PORT = 8010;
const DEFAULT_URL = `http://127.0.0.1:${DEFAULT_PORT}`;
/** Where `impgem up` keeps its farm when nothing else is said. */
export const DEFAULT_DATA = '.impgem';

type Environment = Record<string, string | undefined>;

/**
 * Flags before environment, before the farm that `impgem up` runs in this folder, before the user's file
 * (`~/.config/impgem/client.json`). Address and token are taken from one place: a token never goes to an address
 * that some folder's file names, except that folder's own.
 */
export function target(
  flags: { url?: string; token?: string },
  env: Environment = process.env,
  cwd = process.cwd(),
): Target {
  const url = flags.url ?? env.IMPGEM_URL;
  const token = flags.token ?? env.IMPGEM_TOKEN;
  if (token)
    return {
      url: checked(url ?? DEFAULT_URL),
      token,
      from: flags.token ? '--token' : 'IMPGEM_TOKEN',
    };
  const home = env.XDG_CONFIG_HOME ?? join(homedir(), '.config');
  const files = [join(cwd, DEFAULT_DATA, 'client.json'), join(home, 'impgem', 'client.json')];
  for (const file of files) {
    const read = clientFile(file);
    if (read?.token && (url === undefined || checked(url) === checked(read.url)))
      return { url: checked(read.url), token: read.token, from: file };
  }
  return { url: checked(url ?? DEFAULT_URL), token: undefined, from: 'nowhere' };
}

function checked(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed && /^https?:$/.test(parsed.protocol)) return url.replace(/\/+$/, '');
  throw new UsageError(`${url} is not an address of a master; give one such as ${DEFAULT_URL}`);
}

/** `{ url, token }` or `{ url, tokenFile }`; undefined when there is none, or it is somebody else's. */
function clientFile(file: string): { url: string; token: string | undefined } | undefined {
  let text: string;
  try {
    if (statSync(file).uid !== process.getuid?.()) return undefined;
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const { url, token, tokenFile } = JSON.parse(text) as Record<string, string | undefined>;
    if (typeof url !== 'string') throw new Error('it has no url');
    if (token ?? !tokenFile) return { url, token };
    return { url, token: readFileSync(resolve(file, '..', tokenFile ?? ''), 'utf8').trim() };
  } catch (error) {
    throw new UsageError(`${file} cannot be used: ${(error as Error).message}`);
  }
}

/** NO_COLOR (no-color.org): set and not empty. */
export const noColour = (env: Environment = process.env): boolean => Boolean(env.NO_COLOR);

/** For the programs that this one starts: the environment as it is, and what they need beside it. */
export function inherited(more: Record<string, string | undefined> = {}): Environment {
  return { ...process.env, ...more };
}

/** What `npm start` prepares for the quick start. */
export const quickstartImage = (env: Environment = process.env): string | undefined =>
  env.IMPGEM_QUICKSTART_IMAGE;
