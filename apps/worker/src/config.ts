import 'reflect-metadata';
import { whyForeign } from '@impgem/kit';
import { nearest } from '@impgem/pipeline';
import { EXECUTORS, type ExecutorName } from '@impgem/protocol';
import { plainToInstance } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsNumber,
  IsOptional,
  IsPositive,
  IsString,
  IsUrl,
  Matches,
  Max,
  Min,
  validateSync,
} from 'class-validator';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { parse } from 'yaml';
import type { Watermark } from './disk/index.js';
import { DOCKER_DEFAULTS, type ExecutorConfig } from './executor/index.js';
import type { Dialing } from './session/index.js';
import type { MirrorLimits } from './workspace/index.js';

const GiB = 1024 ** 3;
const DAY_MS = 86_400_000;
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** What can be set, checked. Each property is a key of `worker.yml` and, by `SETTINGS`, a variable. */
class Settings {
  @IsUrl(
    { protocols: ['http', 'https'], require_protocol: true, require_tld: false },
    { message: 'is an address such as https://farm.example.org' },
  )
  masterUrl = 'http://127.0.0.1:8010';
  @IsOptional()
  @Matches(/^igw_[a-z0-9]+_[\w-]+$/, { message: 'is a worker token, igw_…' })
  workerToken?: string;
  @IsOptional()
  @Matches(/^igr_[a-z0-9]+_[\w-]+$/, { message: 'is a registration token, igr_…' })
  registrationToken?: string;
  @Matches(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, {
    message:
      'is 1 to 63 letters, digits, dots, dashes or underscores, and begins with a letter or digit',
  })
  workerName = hostname().slice(0, 63);
  @IsInt({ message: 'is a whole number' })
  @Min(1, { message: 'is at least 1' })
  @Max(1024, { message: 'is at most 1024' })
  workerSlots = 2;
  @IsArray({ message: 'is a list of labels' })
  @Matches(/^[A-Za-z0-9][A-Za-z0-9._/=-]{0,99}$/, {
    each: true,
    message: 'has labels of letters, digits and . _ - / =, 100 at most',
  })
  workerLabels: string[] = [];
  @IsIn(EXECUTORS, { message: `is one of ${EXECUTORS.join(', ')}` })
  executor: ExecutorName = 'docker';
  @IsBoolean({ message: 'is 1 or 0' })
  allowHostExecutor = false;
  @IsBoolean({ message: 'is 1 or 0' })
  allowInsecure = false;
  @IsBoolean({ message: 'is 1 or 0' })
  allowInsecureEngine = false;
  @IsBoolean({ message: 'is 1 or 0' })
  allowLocalSources = false;
  @IsOptional()
  @IsString({ message: 'is the path of a PEM file' })
  caFile?: string;
  @IsOptional()
  @IsUrl(
    { protocols: ['http', 'https'], require_protocol: true, require_tld: false },
    { message: 'is an address such as http://proxy:3128' },
  )
  httpsProxy?: string;
  @IsArray({ message: 'is a list of hosts' })
  noProxy: string[] = [];
  @IsOptional()
  @Matches(/^(unix|tcp|https?):\/\//, { message: 'is unix:///path, tcp://host:port or https://…' })
  dockerHost?: string;
  @IsOptional()
  @IsString({ message: 'is the path of a socket' })
  dockerSocket?: string;
  @IsOptional()
  @IsString({ message: 'is the path of a policy file' })
  policyFile?: string;
  @IsInt({ message: 'is a size such as 512MiB or 2GiB' })
  @Min(4 * 1024 ** 2, { message: 'is at least 4MiB' })
  stepMemory = DOCKER_DEFAULTS.memory;
  @IsOptional()
  @IsNumber({}, { message: 'is a number of processors, such as 1.5' })
  @IsPositive({ message: 'is more than 0' })
  stepCpus?: number;
  @IsInt({ message: 'is a whole number' })
  @Min(8, { message: 'is at least 8' })
  stepPids = DOCKER_DEFAULTS.pids;
  @IsInt({ message: 'is a size such as 1GiB' })
  @Min(1024 ** 2, { message: 'is at least 1MiB' })
  stepLog = DOCKER_DEFAULTS.logCap;
  @Matches(/^\d+\.\d+\.\d+\.\d+\/\d+$/, { message: 'is an IPv4 range such as 10.213.0.0/16' })
  networksRange = DOCKER_DEFAULTS.networksRange;
  @IsArray({ message: 'is a list of addresses' })
  resolvers: string[] = [];
  @IsInt({ message: 'is a size such as 2GiB' })
  @Min(0, { message: 'is at least 0' })
  workerMinFree = 2 * GiB;
  @IsInt({ message: 'is a whole number' })
  @Min(0, { message: 'is at least 0' })
  workerMinFreeInodes = 20_000;
  @IsInt({ message: 'is a size such as 512MiB' })
  @Min(0, { message: 'is at least 0' })
  workerDiskFloor = GiB / 2;
  @IsInt({ message: 'is a size such as 2GiB' })
  @Min(16 * 1024 ** 2, { message: 'is at least 16MiB' })
  spoolQuota = 2 * GiB;
  @IsInt({ message: 'is a whole number of days' })
  @Min(1, { message: 'is at least 1' })
  mirrorDays = 30;
  @IsInt({ message: 'is a whole number' })
  @Min(1, { message: 'is at least 1' })
  mirrorCount = 500;
  @IsInt({ message: 'is a size such as 50GiB' })
  @Min(0, { message: 'is at least 0' })
  mirrorSize = 50 * GiB;
  @IsIn(LEVELS, { message: `is one of ${LEVELS.join(', ')}` })
  logLevel: (typeof LEVELS)[number] = 'info';
}

/** What holds when nothing is set; the reference page is made from this. @public */
export const DEFAULTS: Readonly<Settings> = new Settings();

type Kind = 'text' | 'number' | 'size' | 'flag' | 'list';

/** One setting as people meet it; the reference page is made from this. */
export interface Setting {
  key: keyof Settings;
  env: string;
  kind: Kind;
  text: string;
}

export const SETTINGS: readonly Setting[] = [
  { key: 'masterUrl', env: 'IMPGEM_MASTER_URL', kind: 'text', text: 'Address of the master.' },
  {
    key: 'registrationToken',
    env: 'IMPGEM_REGISTRATION_TOKEN',
    kind: 'text',
    text: 'Exchanged once, at the first start, for a credential of this worker’s own.',
  },
  {
    key: 'workerToken',
    env: 'IMPGEM_WORKER_TOKEN',
    kind: 'text',
    text: 'The credential itself, e.g. after a rotation; goes before `credential.json`.',
  },
  {
    key: 'workerName',
    env: 'IMPGEM_WORKER_NAME',
    kind: 'text',
    text: 'Name; the host’s by default.',
  },
  { key: 'workerSlots', env: 'IMPGEM_WORKER_SLOTS', kind: 'number', text: 'Builds at once.' },
  {
    key: 'workerLabels',
    env: 'IMPGEM_WORKER_LABELS',
    kind: 'list',
    text: 'Labels besides `os=…`, `arch=…` and `executor=…`, which set themselves.',
  },
  { key: 'executor', env: 'IMPGEM_EXECUTOR', kind: 'text', text: 'What runs steps.' },
  {
    key: 'allowHostExecutor',
    env: 'IMPGEM_ALLOW_HOST_EXECUTOR',
    kind: 'flag',
    text: 'Lets steps run as this worker’s own user, without a container.',
  },
  {
    key: 'allowInsecure',
    env: 'IMPGEM_ALLOW_INSECURE',
    kind: 'flag',
    text: 'Lets tokens and logs go in the clear to a master on another machine.',
  },
  {
    key: 'allowInsecureEngine',
    env: 'IMPGEM_ALLOW_INSECURE_ENGINE',
    kind: 'flag',
    text: 'Lets the worker use an engine at a plain `tcp://` or `http://` address. Whoever reaches that port, a step included, has all of the engine’s machine.',
  },
  {
    key: 'allowLocalSources',
    env: 'IMPGEM_ALLOW_LOCAL_SOURCES',
    kind: 'flag',
    text: 'Lets builders name repositories on this machine’s disk.',
  },
  { key: 'caFile', env: 'IMPGEM_CA_FILE', kind: 'text', text: 'PEM file of an own authority.' },
  { key: 'httpsProxy', env: 'HTTPS_PROXY', kind: 'text', text: 'Proxy on the way to the master.' },
  { key: 'noProxy', env: 'NO_PROXY', kind: 'list', text: 'Hosts reached without it.' },
  { key: 'dockerHost', env: 'DOCKER_HOST', kind: 'text', text: 'Address of the Docker Engine.' },
  {
    key: 'dockerSocket',
    env: 'IMPGEM_DOCKER_SOCKET',
    kind: 'text',
    text: 'Path of the Docker Engine’s socket; goes before DOCKER_HOST.',
  },
  {
    key: 'policyFile',
    env: 'IMPGEM_POLICY_FILE',
    kind: 'text',
    text: 'What steps may be allowed.',
  },
  { key: 'stepMemory', env: 'IMPGEM_STEP_MEMORY', kind: 'size', text: 'Memory of each step.' },
  { key: 'stepCpus', env: 'IMPGEM_STEP_CPUS', kind: 'number', text: 'Processors of each step.' },
  { key: 'stepPids', env: 'IMPGEM_STEP_PIDS', kind: 'number', text: 'Processes of each step.' },
  { key: 'stepLog', env: 'IMPGEM_STEP_LOG', kind: 'size', text: 'Output of each step.' },
  {
    key: 'networksRange',
    env: 'IMPGEM_NETWORKS_RANGE',
    kind: 'text',
    text: 'Addresses from which the slots’ networks are cut.',
  },
  { key: 'resolvers', env: 'IMPGEM_RESOLVERS', kind: 'list', text: 'Name servers of steps.' },
  {
    key: 'spoolQuota',
    env: 'IMPGEM_SPOOL_QUOTA',
    kind: 'size',
    text: 'Disk for output that the master has not got yet; when it is used up for long, output is left out, and its log says so.',
  },
  {
    key: 'workerMinFree',
    env: 'IMPGEM_WORKER_MIN_FREE',
    kind: 'size',
    text: 'Below so much free disk, of the data folder or of the engine’s, copies of repositories and images that the farm pulled are removed, and no work is taken.',
  },
  {
    key: 'workerMinFreeInodes',
    env: 'IMPGEM_WORKER_MIN_FREE_INODES',
    kind: 'number',
    text: 'The same for free inodes.',
  },
  {
    key: 'mirrorDays',
    env: 'IMPGEM_MIRROR_DAYS',
    kind: 'number',
    text: 'A copy of a repository that no build used for so many days is removed.',
  },
  {
    key: 'mirrorCount',
    env: 'IMPGEM_MIRROR_COUNT',
    kind: 'number',
    text: 'Copies of repositories that are kept; those that no build used for the longest time go.',
  },
  {
    key: 'mirrorSize',
    env: 'IMPGEM_MIRROR_SIZE',
    kind: 'size',
    text: 'Disk for all of them; the one that was used last stays even if it is bigger.',
  },
  {
    key: 'workerDiskFloor',
    env: 'IMPGEM_WORKER_DISK_FLOOR',
    kind: 'size',
    text: 'Below so much free disk where workspaces lie, or below a quarter of IMPGEM_WORKER_MIN_FREE_INODES, the build that grew most is ended (`disk-full`); never by 0.',
  },
  { key: 'logLevel', env: 'IMPGEM_LOG_LEVEL', kind: 'text', text: 'Of the worker’s own log.' },
];

const DATA_ENV = 'IMPGEM_WORKER_DATA';
/** Has the worker's prefix, but is read by the compose file. */
const OF_OTHERS = ['IMPGEM_WORKER_IMAGE'];

/** Where the data lies when nothing is said: below the current folder, which others may have filled. */
const DEFAULT_DATA = ['.impgem', 'worker'] as const;

/** What the check of the data folder needs of this machine. */
export const folderHost = { fs, spawnSync, uid: process.getuid?.() };

/** The worker's configuration, checked; nothing else reads the environment. */
export interface WorkerConfig {
  dataDir: string;
  /** Whoever started the worker has named the folder; else it was found in the current one. */
  dataDirNamed: boolean;
  name: string;
  slots: number;
  labels: readonly string[];
  workerToken?: string;
  registrationToken?: string;
  dialing: Dialing;
  executor: ExecutorConfig;
  allowLocalSources: boolean;
  spoolQuota: number;
  mirrors: MirrorLimits;
  /** What must stay free on the disks that builds need. */
  watermark: Watermark;
  /** Below it the build that grew most is ended. */
  floorBytes: number;
  logLevel: string;
}

/** All that is wrong with the configuration, one line each: which key, what it shall be. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

/** Reads environment and `worker.yml` (the environment wins). Throws a `ConfigError` that names every bad key. */
export function readConfig(
  env: NodeJS.ProcessEnv = process.env,
  cwd: string = process.cwd(),
): WorkerConfig {
  const data = dataFolder(env[DATA_ENV], cwd);
  const problems: string[] = [];
  const file = readFile(join(data.dataDir, 'worker.yml'), problems);
  const given: Record<string, unknown> = {};
  const names: Record<string, string> = {};
  for (const { key, env: variable, kind } of SETTINGS) {
    const text = env[variable] || env[variable.toLowerCase()];
    const value = text ? text : file[key];
    if (value === undefined || value === null) continue;
    given[key] = convert(kind, value);
    names[key] = text ? variable : `worker.yml: ${key}`;
  }
  problems.push(...unknownVariables(env));
  const settings = plainToInstance(Settings, given);
  for (const { property, constraints = {} } of validateSync(settings)) {
    const name = names[property] ?? property;
    problems.push(`${name} ${Object.values(constraints).at(-1) ?? 'is not valid'}`);
  }
  if (settings.executor === 'host' && !settings.allowHostExecutor)
    problems.push(
      'IMPGEM_EXECUTOR=host runs other people’s commands as this user: IMPGEM_ALLOW_HOST_EXECUTOR=1 says that you want it',
    );
  const engine = engineOf(settings, env);
  if (engine !== undefined && /^(tcp|http):/.test(engine) && !settings.allowInsecureEngine)
    problems.push(
      `${names['dockerHost'] ?? 'DOCKER_HOST'} is ${engine}, without TLS: whoever reaches that port, a step included, has all ` +
        'of that machine. Use unix:///var/run/docker.sock, or TLS (DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH); ' +
        'IMPGEM_ALLOW_INSECURE_ENGINE=1 says that you want it',
    );
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({ ...configOf(data.dataDir, settings, engine), ...data });
}

/**
 * The data folder. One that is found below the current folder, by the default or a relative path, says which master
 * and which executor the worker uses: it counts only when a worker made it. Throws a `ConfigError` otherwise.
 */
function dataFolder(given: string | undefined, cwd: string) {
  if (given && isAbsolute(given)) return { dataDir: resolve(given), dataDirNamed: true };
  const dataDir = given ? resolve(cwd, given) : join(cwd, ...DEFAULT_DATA);
  const below = given ? [relative(cwd, dataDir)] : DEFAULT_DATA;
  const why = whyForeign(folderHost, cwd, below);
  if (why === undefined) return { dataDir, dataDirNamed: false };
  throw new ConfigError([
    `found ${dataDir}, which is not used: it ${why}. If it is this worker's, say so once by its whole path: ` +
      `${DATA_ENV}=${dataDir}`,
  ]);
}

function readFile(path: string, problems: string[]): Record<string, unknown> {
  if (!fs.existsSync(path)) return {};
  let read: unknown;
  try {
    read = parse(fs.readFileSync(path, 'utf8')) ?? {};
  } catch (error) {
    problems.push(`${path} is not YAML: ${(error as Error).message.split('\n')[0]}`);
    return {};
  }
  if (typeof read !== 'object' || read === null || Array.isArray(read)) {
    problems.push(`${path} is a list of keys and values`);
    return {};
  }
  const known: string[] = SETTINGS.map(({ key }) => key);
  for (const key of Object.keys(read))
    if (!known.includes(key)) problems.push(`worker.yml: unknown key ${key}${guess(key, known)}`);
  return read as Record<string, unknown>;
}

/** Other programs of the farm have variables of their own; these prefixes are the worker's. */
function unknownVariables(env: NodeJS.ProcessEnv): string[] {
  const known = [...SETTINGS.map(({ env: name }) => name), DATA_ENV, ...OF_OTHERS];
  return Object.keys(env)
    .filter((name) => /^IMPGEM_(WORKER|STEP|ALLOW)_/.test(name) && !known.includes(name))
    .map((name) => `unknown variable ${name}${guess(name, known)}`);
}

function guess(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  return near ? `: did you mean ${near}?` : '';
}

/** Text as its kind; what cannot be is left as it is, for the check to name. */
function convert(kind: Kind, value: unknown): unknown {
  if (typeof value === 'number' && kind === 'text') return String(value);
  if (typeof value !== 'string') return value;
  switch (kind) {
    case 'text':
      return value;
    case 'number':
      return value.trim() === '' || Number.isNaN(Number(value)) ? value : Number(value);
    case 'size':
      return sizeOf(value) ?? value;
    case 'flag':
      return { '1': true, true: true, '0': false, false: false }[value.toLowerCase()] ?? value;
    case 'list':
      return value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '');
  }
}

/** `512MiB`, `2 GiB`, `4096` → bytes. */
function sizeOf(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGT])i?B?)?$/i.exec(text.trim());
  if (!match) return undefined;
  const power = match[2] ? 'KMGT'.indexOf(match[2].toUpperCase()) + 1 : 0;
  return Math.round(Number(match[1]) * 1024 ** power);
}

/** The engine's address, if one is given; with the variable of the docker command `tcp` is meant with TLS. */
function engineOf(
  { dockerSocket, dockerHost }: Settings,
  env: NodeJS.ProcessEnv,
): string | undefined {
  if (dockerSocket) return `unix://${resolve(dockerSocket)}`;
  return env['DOCKER_TLS_VERIFY'] ? dockerHost?.replace(/^tcp:/, 'https:') : dockerHost;
}

/** Ports at which a step must not find an answer on the machine that runs it. */
function portsOf(masterUrl: string, engine: string | undefined): number[] {
  const ports = [...DOCKER_DEFAULTS.ports];
  for (const address of [masterUrl, engine?.replace(/^tcp:/, 'http:') ?? '']) {
    if (!/^https?:/.test(address) || !URL.canParse(address)) continue;
    const url = new URL(address);
    ports.push(Number(url.port || (url.protocol === 'https:' ? 443 : 80)));
  }
  return [...new Set(ports)];
}

function configOf(
  dataDir: string,
  from: Settings,
  host: string | undefined,
): Omit<WorkerConfig, 'dataDirNamed'> {
  return {
    dataDir,
    name: from.workerName,
    slots: from.workerSlots,
    labels: from.workerLabels,
    ...(from.workerToken ? { workerToken: from.workerToken } : {}),
    ...(from.registrationToken ? { registrationToken: from.registrationToken } : {}),
    dialing: {
      masterUrl: from.masterUrl,
      allowInsecure: from.allowInsecure,
      ...(from.caFile ? { caFile: from.caFile } : {}),
      ...(from.httpsProxy ? { proxy: from.httpsProxy } : {}),
      noProxy: from.noProxy,
    },
    executor: {
      executor: from.executor,
      dataDir,
      allowHost: from.allowHostExecutor,
      docker: {
        ...(host ? { host } : {}),
        ...(from.policyFile ? { policyFile: resolve(from.policyFile) } : {}),
        imagesFile: join(dataDir, 'images.json'),
        programFile: join(dataDir, 'holder-program'),
        ports: portsOf(from.masterUrl, host),
        slots: from.workerSlots,
        memory: from.stepMemory,
        ...(from.stepCpus === undefined ? {} : { cpus: from.stepCpus }),
        pids: from.stepPids,
        networksRange: from.networksRange,
        logCap: from.stepLog,
        resolvers: from.resolvers,
      },
    },
    allowLocalSources: from.allowLocalSources,
    spoolQuota: from.spoolQuota,
    mirrors: {
      ageMs: from.mirrorDays * DAY_MS,
      count: from.mirrorCount,
      bytes: from.mirrorSize,
    },
    watermark: { bytes: from.workerMinFree, inodes: from.workerMinFreeInodes },
    floorBytes: from.workerDiskFloor,
    logLevel: from.logLevel,
  };
}
