/**
 * The master's settings, from the environment. Read once in `main.ts`;
 * nothing else looks at `process.env`.
 */
import 'reflect-metadata';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { isIP } from 'node:net';
import path from 'node:path';
import { createSecureContext } from 'node:tls';
import { FarmError, whyForeign } from '@impgem/kit';
import { LIMITS, type Limits } from './limits.js';
import { nearest } from './nearest.js';

const GiB = 1024 ** 3;
const DAY_MS = 24 * 3600_000;

/** Settings of one master. Frozen; injectable by this class. */
export class MasterConfig {
  /** Absolute. */
  readonly dataDir: string = '';
  readonly host: string = '127.0.0.1';
  readonly port: number = 8010;
  /** Absent: the embedded database in the data folder. */
  readonly databaseUrl?: string;
  /** PEM texts. */
  readonly tls?: { cert: string; key: string };
  /** How people and workers reach this master, without a slash at the end. */
  readonly publicUrl: string = '';
  /** Origins (besides the public URL's) that may use the session cookie: none. */
  readonly trustProxy: boolean | string = false;
  readonly logLevel: string = 'info';
  /** A worker silent for so long loses its builds. */
  readonly lostAfterMs: number = 90_000;
  /** So long after its timeout a build is ended that its worker has not ended: what is late may still come in. */
  readonly buildGraceMs: number = 600_000;
  /** How long events of workers and of the farm file are kept, and the audit log. */
  readonly eventKeepMs: number = 90 * DAY_MS;
  readonly auditKeepMs: number = 730 * DAY_MS;
  /** How often workers and master say that they live. */
  readonly heartbeatMs: number = 10_000;
  /** Of the data folder's disk: artifacts leave so many bytes free. */
  readonly minFreeBytes: number = GiB;
  /** Where the built page lies; absent when it was not built. */
  readonly webDir?: string;
  readonly limits: Limits = LIMITS;
}

const LEAST_HEARTBEAT_MS = 1000;

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/** One setting: its variable, what it means (for docs/configuration.md) and its default as people read it. */
export interface Setting {
  name: string;
  meaning: string;
  default: string;
}

/** The master's settings, for the check of unknown names and for the reference page. */
export const SETTINGS: Setting[] = [
  {
    name: 'IMPGEM_DATA',
    meaning: 'data folder: embedded database, artifacts, first admin token',
    default: './.impgem/master',
  },
  { name: 'IMPGEM_HOST', meaning: 'address to listen on', default: '127.0.0.1' },
  { name: 'IMPGEM_PORT', meaning: 'port to listen on, 0 for any free one', default: '8010' },
  {
    name: 'DATABASE_URL',
    meaning: 'PostgreSQL to use instead of the embedded one, `postgres://user:password@host/name`',
    default: 'embedded',
  },
  {
    name: 'IMPGEM_PUBLIC_URL',
    meaning: 'how people and workers reach the master; its origin may use the page',
    default: 'http(s)://host:port',
  },
  { name: 'IMPGEM_TLS_CERT', meaning: 'PEM file of the certificate chain', default: 'no TLS' },
  { name: 'IMPGEM_TLS_KEY', meaning: 'PEM file of its key', default: 'no TLS' },
  {
    name: 'IMPGEM_TRUST_PROXY',
    meaning:
      '`1` for one proxy in front of the master, or addresses and subnets with commas, of proxies whose X-Forwarded-* headers count',
    default: 'none',
  },
  { name: 'IMPGEM_LOG_LEVEL', meaning: LEVELS.map((l) => `\`${l}\``).join(', '), default: 'info' },
  {
    name: 'IMPGEM_MASTER_MIN_FREE',
    meaning:
      'free space that artifacts and logs leave on the disk of the data folder and of a database on this machine, such as `512MiB`',
    default: '1GiB',
  },
  {
    name: 'IMPGEM_MASTER_BUILD_ARTIFACTS',
    meaning: 'bytes that all artifacts of one build may have together, such as `2GiB`',
    default: '32GiB',
  },
  {
    name: 'IMPGEM_MASTER_STEP_LOG',
    meaning:
      "most bytes of output of one step that the master takes; above it the build ends as `failure`. A worker's IMPGEM_STEP_LOG is below, so that it stops the step itself",
    default: '2GiB',
  },
  {
    name: 'IMPGEM_MASTER_BUILD_LOG',
    meaning:
      'most bytes that the logs of one build take in the database, with 128 more for each chunk; above it the build ends as `failure`',
    default: '8GiB',
  },
  {
    name: 'IMPGEM_EVENT_KEEP_DAYS',
    meaning:
      'days that events of workers and of the farm file are kept; those of builds go with the builds',
    default: '90',
  },
  {
    name: 'IMPGEM_AUDIT_KEEP_DAYS',
    meaning: 'days that the audit log is kept',
    default: '730',
  },
  {
    name: 'IMPGEM_LOST_AFTER_S',
    meaning: 'seconds of silence after which the builds of a worker are handed to others',
    default: '90',
  },
  {
    name: 'IMPGEM_QUEUE_MAX',
    meaning: 'build requests that may wait, in all',
    default: '200000',
  },
  {
    name: 'IMPGEM_QUEUE_MAX_PER_CALLER',
    meaning: 'build requests of one API token that may wait',
    default: '50000',
  },
  {
    name: 'IMPGEM_BUILD_GRACE_S',
    meaning:
      "seconds beyond a build's timeout, and beyond the silence that its worker may keep, after which the master ends it",
    default: '600',
  },
];

const STEP_LOG = 'IMPGEM_MASTER_STEP_LOG';
const ARTIFACTS = 'IMPGEM_MASTER_BUILD_ARTIFACTS';
const BUILD_LOG = 'IMPGEM_MASTER_BUILD_LOG';

/** Names of ours belong to the other programs too; only one this near to a setting is taken for a slip. */
const SLIP = 2;

type Environment = Record<string, string | undefined>;

/**
 * Throws `FarmError('invalid-config')` whose message has one line per bad key. An empty value counts as absent.
 */
export function readConfig(
  environment: Environment = process.env,
  cwd: string = process.cwd(),
): MasterConfig {
  const problems: string[] = [];
  const names = SETTINGS.map(({ name }) => name);
  for (const name of Object.keys(environment)) {
    const meant = names.includes(name) ? undefined : nearest(name, names, SLIP);
    if (name.startsWith('IMPGEM_') && meant)
      problems.push(`${name}: there is no such setting; did you mean ${meant}?`);
  }
  const get = (name: string) => environment[name] || undefined;
  const whole = (name: string, otherwise: number, least: number, most: number) =>
    wholeNumber(name, get(name), otherwise, least, most, problems);
  const port = whole('IMPGEM_PORT', 8010, 0, 65_535);
  const lostAfter = whole('IMPGEM_LOST_AFTER_S', 90, 1, 86_400);
  const keep = readKeep(get, problems);
  const buildGrace = whole('IMPGEM_BUILD_GRACE_S', 600, 1, 604_800);
  const { pendingRequests, pendingRequestsPerCaller } = LIMITS;
  const queue = {
    pendingRequests: whole('IMPGEM_QUEUE_MAX', pendingRequests, 1, 10_000_000),
    pendingRequestsPerCaller: whole(
      'IMPGEM_QUEUE_MAX_PER_CALLER',
      pendingRequestsPerCaller,
      1,
      10_000_000,
    ),
  };
  const minFreeBytes = size('IMPGEM_MASTER_MIN_FREE', get('IMPGEM_MASTER_MIN_FREE'), GiB, problems);
  const { stepLogBytes, buildLogBytes, buildArtifactBytes } = LIMITS;
  const sizes = {
    stepLogBytes: size(STEP_LOG, get(STEP_LOG), stepLogBytes, problems),
    buildLogBytes: size(BUILD_LOG, get(BUILD_LOG), buildLogBytes, problems),
    buildArtifactBytes: size(ARTIFACTS, get(ARTIFACTS), buildArtifactBytes, problems),
  };
  const host = get('IMPGEM_HOST') ?? '127.0.0.1';
  const tls = readTls(get('IMPGEM_TLS_CERT'), get('IMPGEM_TLS_KEY'), problems);
  const logLevel = get('IMPGEM_LOG_LEVEL') ?? 'info';
  if (!LEVELS.includes(logLevel))
    problems.push(`IMPGEM_LOG_LEVEL: ${logLevel} is none of ${LEVELS.join(', ')}`);
  const databaseUrl = get('DATABASE_URL');
  if (databaseUrl && !/^postgres(ql)?:\/\/./.test(databaseUrl))
    problems.push('DATABASE_URL: it begins with postgres://');
  const dataDir = dataFolder(get('IMPGEM_DATA'), cwd, problems);
  const publicUrl = readPublicUrl(get('IMPGEM_PUBLIC_URL'), problems);
  const trustProxy = readTrust(get('IMPGEM_TRUST_PROXY'), problems);
  if (problems.length > 0) throw new FarmError('invalid-config', problems.join('\n'), { problems });
  return Object.freeze({
    dataDir,
    host,
    port,
    ...(databaseUrl ? { databaseUrl } : {}),
    ...(tls ? { tls } : {}),
    publicUrl: publicUrl ?? defaultUrl(tls !== undefined, host, port),
    trustProxy,
    logLevel,
    lostAfterMs: lostAfter * 1000,
    buildGraceMs: buildGrace * 1000,
    ...keep,
    heartbeatMs: heartbeatFor(lostAfter * 1000),
    minFreeBytes,
    limits: Object.freeze({ ...LIMITS, ...sizes, ...queue }),
  });
}

/** Where the data lies when nothing is said: below the current folder, which others may have filled. */
const DEFAULT_DATA = ['.impgem', 'master'] as const;

/** What the check of the data folder needs of this machine. */
export const folderHost = { fs, spawnSync, uid: process.getuid?.() };

/** One that is found below the current folder, by the default or a relative path, counts only when a master made it. */
function dataFolder(given: string | undefined, cwd: string, problems: string[]): string {
  if (given && path.isAbsolute(given)) return path.resolve(given);
  const dataDir = given ? path.resolve(cwd, given) : path.join(cwd, ...DEFAULT_DATA);
  const why = whyForeign(folderHost, cwd, given ? [path.relative(cwd, dataDir)] : DEFAULT_DATA);
  if (why !== undefined)
    problems.push(
      `found ${dataDir}, which is not used: it ${why}. If it is this master's, say so once by its whole path: IMPGEM_DATA=${dataDir}`,
    );
  return dataDir;
}

/** How long rows are kept that belong to no build. */
function readKeep(get: (name: string) => string | undefined, problems: string[]) {
  const days = (name: string, otherwise: number) =>
    wholeNumber(name, get(name), otherwise, 1, 36_500, problems) * DAY_MS;
  return {
    eventKeepMs: days('IMPGEM_EVENT_KEEP_DAYS', 90),
    auditKeepMs: days('IMPGEM_AUDIT_KEEP_DAYS', 730),
  };
}

/** What is silent for 4.5 heartbeats is cut off: that must come before its builds are given up. */
function heartbeatFor(lostAfterMs: number): number {
  return Math.max(LEAST_HEARTBEAT_MS, Math.min(10_000, Math.round(lostAfterMs / 9)));
}

/** The same settings with others in place of some. */
export function withConfig(config: MasterConfig, changes: Partial<MasterConfig>): MasterConfig {
  return Object.freeze({ ...config, ...changes });
}

export function defaultUrl(tls: boolean, host: string, port: number): string {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  return `${tls ? 'https' : 'http'}://${name.includes(':') ? `[${name}]` : name}:${port}`;
}

function wholeNumber(
  name: string,
  text: string | undefined,
  otherwise: number,
  least: number,
  most: number,
  problems: string[],
): number {
  if (text === undefined) return otherwise;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  problems.push(`${name}: ${text} is no whole number from ${least} to ${most}`);
  return otherwise;
}

function size(
  name: string,
  text: string | undefined,
  otherwise: number,
  problems: string[],
): number {
  if (text === undefined) return otherwise;
  const parts = /^(\d{1,9})(?:([KMGT])iB)?$/.exec(text);
  if (parts) return Number(parts[1]) * 1024 ** ' KMGT'.indexOf(parts[2] ?? ' ');
  problems.push(`${name}: ${text} is no size such as 512MiB or 2GiB`);
  return otherwise;
}

function readTls(cert: string | undefined, key: string | undefined, problems: string[]) {
  if (!cert && !key) return undefined;
  if (!cert || !key) {
    problems.push('IMPGEM_TLS_CERT and IMPGEM_TLS_KEY: give both or none');
    return undefined;
  }
  const before = problems.length;
  const read = (name: string, file: string) => {
    try {
      return fs.readFileSync(file, 'utf8');
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`);
      return '';
    }
  };
  const tls = { cert: read('IMPGEM_TLS_CERT', cert), key: read('IMPGEM_TLS_KEY', key) };
  if (problems.length > before) return undefined;
  try {
    createSecureContext(tls);
  } catch (error) {
    problems.push(
      `IMPGEM_TLS_CERT and IMPGEM_TLS_KEY: ${cert} and ${key} are no certificate and its key in PEM: ${(error as Error).message}`,
    );
  }
  return tls;
}

function readPublicUrl(text: string | undefined, problems: string[]): string | undefined {
  if (text === undefined) return undefined;
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol))
    return text.replace(/\/+$/, '');
  problems.push(`IMPGEM_PUBLIC_URL: ${text} is no http(s) address`);
  return undefined;
}

function readTrust(text: string | undefined, problems: string[]): boolean | string {
  if (text === undefined || text === '0' || text === 'false') return false;
  if (text === '1' || text === 'true') return true;
  for (const part of text.split(',').map((one) => one.trim()))
    if (!isSubnet(part))
      problems.push(`IMPGEM_TRUST_PROXY: ${part} is no address or subnet, such as 10.0.0.0/8`);
  return text;
}

function isSubnet(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most);
  return most > 0 && fits && more.length === 0;
}
