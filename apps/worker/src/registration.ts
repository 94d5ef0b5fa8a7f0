import { FarmError, fullJitter } from '@impgem/kit';
import { masterCodec, workerCodec, type Hello } from '@impgem/protocol';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import type { WorkerConfig } from './config.js';
import { addressOf, dial, transportOf, wayProblem, type Dialing } from './session/index.js';

/** What this worker is to its master: made once by registration, kept in `credential.json` with mode 0600. */
export interface Credential {
  /** UUID of the worker. */
  id: string;
  name: string;
  /** UUID of the farm. */
  farm: string;
  /** `igw_<id>_<secret>`. */
  token: string;
}

const ANSWER_MS = 30_000;
const ANSWER_BYTES = 64 * 1024;
const RETRY = { baseMs: 1000, capMs: 30_000 };

/**
 * The credential: the one that is kept, or a new one for the registration token. A master that does not answer
 * yet is waited for. Rejects with a `FarmError('credential')` that says what to do when there is none to be had.
 */
export async function credentialOf(
  config: WorkerConfig,
  hello: Omit<Hello, 'type' | 'builds'>,
  log: Logger,
): Promise<Credential> {
  const path = join(config.dataDir, 'credential.json');
  const kept = await read(path);
  if (config.workerToken !== undefined) {
    const id = uuidIn(config.workerToken);
    if (kept?.id === id) return { ...kept, token: config.workerToken };
    const credential = await introduce(config.dialing, config.workerToken, id, hello);
    await keep(path, credential);
    return credential;
  }
  if (kept) return kept;
  if (config.registrationToken === undefined)
    throw new FarmError(
      'credential',
      'this worker is not registered. Make a registration token with `impgem workers add` (or on the page, ' +
        'Workers → Add a worker) and start the worker with IMPGEM_REGISTRATION_TOKEN set to it.',
    );
  const credential = await register(config, config.registrationToken, log);
  await keep(path, credential);
  log.info({ name: credential.name, worker: credential.id }, 'registered');
  return credential;
}

async function read(path: string): Promise<Credential | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { id, name, farm, token } = JSON.parse(text) as Partial<Credential>;
    if (id && name && farm && token) return { id, name, farm, token };
  } catch {
    // Told below.
  }
  throw new FarmError(
    'credential',
    `${path} is damaged. Revoke the worker (\`impgem workers revoke\`), remove the file, and register again.`,
  );
}

async function keep(path: string, credential: Credential): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, `${JSON.stringify(credential, null, 2)}\n`, { mode: 0o600 });
  await chmod(`${path}.new`, 0o600);
  await rename(`${path}.new`, path);
}

function uuidIn(token: string): string {
  const hex = token.split('_')[1] ?? '';
  const parts = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/.exec(hex);
  if (!parts)
    throw new FarmError('credential', 'IMPGEM_WORKER_TOKEN is cut: igw_, 32 digits, _, a secret');
  return parts.slice(1).join('-');
}

async function register(
  config: WorkerConfig,
  registrationToken: string,
  log: Logger,
): Promise<Credential> {
  const body = { name: config.name, ...(config.labels.length ? { labels: config.labels } : {}) };
  for (let attempt = 0; ; attempt += 1) {
    const answer = await post(config.dialing, '/api/v1/workers/register', registrationToken, body);
    if (answer.status === 201 || answer.status === 200) return credentialIn(answer.body);
    if (!answer.again) throw refused(answer, config);
    const inMs = fullJitter(attempt, RETRY);
    log.warn({ reason: answer.problem, inMs }, 'cannot register yet');
    await new Promise((resolve) => setTimeout(resolve, inMs));
  }
}

function credentialIn(body: Record<string, unknown>): Credential {
  const { id, name, farm, token } = body;
  if ([id, name, farm, token].every((value) => typeof value === 'string'))
    return { id, name, farm, token } as Credential;
  throw new FarmError('credential', 'what answered the registration is not an Imp Gem master');
}

interface Answer {
  /** 0 when there was none. */
  status: number;
  body: Record<string, unknown>;
  problem: string;
  /** Surely nothing was done, and later it may go. */
  again: boolean;
}

const ADVICE: Record<string, string> = {
  unauthenticated: 'The master does not know this registration token: copy it anew.',
  'token-expired': 'The registration token has expired.',
  'token-used-up': 'The registration token is used up.',
  'token-revoked': 'The registration token was revoked.',
};

function refused({ status, body, problem }: Answer, config: WorkerConfig): FarmError {
  const code = typeof body.code === 'string' ? body.code : '';
  const detail = typeof body.detail === 'string' ? body.detail : problem;
  const advice = ADVICE[code];
  if (advice)
    return new FarmError(
      'credential',
      `${advice} Make a new one with \`impgem workers add\` and set IMPGEM_REGISTRATION_TOKEN.`,
    );
  if (code === 'name-taken')
    return new FarmError(
      'credential',
      `There is a worker named ${config.name} already. Set IMPGEM_WORKER_NAME to another name, or remove the ` +
        `old one with \`impgem workers revoke ${config.name}\`.`,
    );
  if (status === 0)
    return new FarmError(
      'credential',
      `the master cannot be reached for the registration: ${detail}`,
    );
  return new FarmError('credential', `the master refused the registration (${status}): ${detail}`);
}

/** Failures before a byte of the request was taken: it may be sent again without being done twice. */
const NOT_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'];

async function post(dialing: Dialing, path: string, token: string, body: object): Promise<Answer> {
  const url = addressOf(dialing, path, 'http');
  const json = JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(json),
  };
  const options = { method: 'POST', headers, timeout: ANSWER_MS, ...transportOf(dialing, url) };
  return new Promise((resolve) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options);
    const fail = (error: NodeJS.ErrnoException): void => {
      const again = NOT_SENT.includes(error.code ?? '');
      resolve({ status: 0, body: {}, problem: `${url.origin}: ${wayProblem(error)}`, again });
    };
    request.on('error', fail);
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        if (text.length < ANSWER_BYTES) text += piece;
      });
      response.on('error', fail);
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        const again = status === 502 || status === 503 || status === 504;
        resolve({ status, body: jsonOf(text), problem: `HTTP ${status}`, again });
      });
    });
    request.end(json);
  });
}

function jsonOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

const nobody = (what: string): FarmError =>
  new FarmError('credential', `the master does not accept IMPGEM_WORKER_TOKEN: ${what}`);

/** Asks the master, over the worker's socket, whose worker this token is; for a token that came without the rest. */
async function introduce(
  dialing: Dialing,
  token: string,
  id: string,
  hello: Omit<Hello, 'type' | 'builds'>,
): Promise<Credential> {
  const socket = dial(dialing, token);
  try {
    return await new Promise<Credential>((resolve, reject) => {
      socket.on('open', () =>
        socket.send(workerCodec.stringify({ type: 'hello', ...hello, slots: 0, builds: [] })),
      );
      socket.on('message', (data) => {
        const message = masterCodec.parse(String(data));
        if (message.type === 'welcome')
          resolve({ id: message.worker || id, name: message.name, farm: message.farm, token });
      });
      socket.on('error', (error) => reject(nobody(error.message)));
      socket.on('close', (code, reason) => reject(nobody(`closed ${code} ${String(reason)}`)));
    });
  } finally {
    socket.close(1000);
  }
}
