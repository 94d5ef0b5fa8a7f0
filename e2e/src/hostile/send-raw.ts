/** Sends the runs of raw-bytes.ts to a master, and looks at its process before and after. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { request as requestTls } from 'node:https';
import { connect } from 'node:net';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { eventually } from '@impgem/testkit';
import type { Farm } from '../farm.js';
import { descriptors, rssBytes } from '../process-facts.js';
import { rawRun, type RawRun, type RawTokens } from './raw-bytes.js';

/** Connections at once. */
const AT_ONCE = 40;
/** After so many runs of a lane it asks how fast the master answers now. */
const PROBE_EVERY = 25;
/** Of the TLS runs, those that begin with no handshake. */
const PLAIN_TO_TLS = 0.15;

export interface RawReport {
  runs: number;
  /** How often each kind was sent. */
  kinds: Record<string, number>;
  /** How often each answer came: a status, `101`, `none`. */
  answers: Record<string, number>;
}

/** One request, whatever authority signed the master's certificate. */
async function ask<T>(farm: Farm, path: string, json?: object, token = farm.token): Promise<T> {
  const secure = farm.url.startsWith('https:');
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const method = json ? 'POST' : 'GET';
  const options = { method, headers, agent: false, rejectUnauthorized: false };
  const asking = (secure ? requestTls : request)(`${farm.url}/api/v1${path}`, options);
  asking.end(json && JSON.stringify(json));
  const [answer] = (await once(asking, 'response')) as [IncomingMessage];
  const text = (await answer.toArray()).join('');
  if ((answer.statusCode ?? 0) >= 300) throw new Error(`${path}: ${answer.statusCode} ${text}`);
  return JSON.parse(text) as T;
}

/** Makes what the runs need: API tokens, and workers. */
async function rawTokens(farm: Farm): Promise<RawTokens> {
  const made = async (path: string, json: object, token?: string) =>
    (await ask<{ token: string }>(farm, path, json, token)).token;
  const api = ['read', 'trigger'].map((scope) =>
    made('/tokens', { name: `raw-${scope}`, scopes: [scope] }),
  );
  const worker = [1, 2, 3, 4].map(async (number) =>
    made('/workers/register', { name: `raw-${number}` }, await made('/registration-tokens', {})),
  );
  return { api: await Promise.all(api), worker: await Promise.all(worker) };
}

/** Sends so many runs of a seed. What the peer makes of them is counted, and no matter. */
async function sendRaw(
  url: string,
  tokens: RawTokens,
  { runs, seed }: { runs: number; seed: number },
): Promise<RawReport> {
  const report: RawReport = { runs, kinds: {}, answers: {} };
  let next = 0;
  const lane = async () => {
    let patienceMs = 0;
    for (let number = next++, turn = 0; number < runs; number = next++, turn++) {
      const run = rawRun(seed, number, tokens);
      if (turn % PROBE_EVERY === 0) patienceMs = 30 + 3 * (await answerMs(url));
      report.kinds[run.kind] = (report.kinds[run.kind] ?? 0) + 1;
      const answer = await send(url, run, number, patienceMs);
      report.answers[answer] = (report.answers[answer] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return report;
}

/** How long the master takes to answer what is right: machines, and their loads, differ. */
async function answerMs(url: string): Promise<number> {
  const began = performance.now();
  const get = url.startsWith('https:') ? requestTls : request;
  const asking = get(`${url}/health/live`, { agent: false, rejectUnauthorized: false });
  asking.end();
  const [answer] = (await once(asking, 'response')) as [IncomingMessage];
  await answer.toArray();
  return performance.now() - began;
}

/** An answer, or the master's close, is waited for so long; neither need come. */
async function send(url: string, run: RawRun, number: number, patienceMs: number): Promise<string> {
  const { hostname: host, port, protocol } = new URL(url);
  const raw = connect({ host, port: Number(port), allowHalfOpen: true });
  const secure = protocol === 'https:' && number % 100 >= PLAIN_TO_TLS * 100;
  // Over a stream of its own: a reset of the connection below a TLS socket ends Node itself.
  const socket = secure
    ? connectTls({
        socket: Duplex.from({ readable: raw, writable: raw }),
        rejectUnauthorized: false,
      })
    : raw;
  // Whatever happens to it ends this run alone.
  for (const one of [raw, socket]) one.on('error', () => undefined);
  const closed = new Promise((resolve) => raw.once('close', resolve));
  const got = first(socket, closed);
  await Promise.race([
    closed,
    new Promise((go) => socket.once(secure ? 'secureConnect' : 'connect', go)),
  ]);
  for (const [index, piece] of run.pieces.entries()) {
    if (index > 0) await sleep(run.pauseMs);
    if (!socket.destroyed) socket.write(piece);
  }
  if (run.reads) await Promise.race([got, sleep(patienceMs)]);
  if (run.ending === 'half') socket.end();
  if (run.ending === 'half' || run.ending === 'wait')
    await Promise.race([closed, sleep(patienceMs)]);
  if (run.ending === 'reset') raw.resetAndDestroy();
  socket.destroy();
  raw.destroy();
  await closed;
  return got;
}

/** The status of the answer's first line, or `none`. */
async function first(socket: Duplex, closed: Promise<unknown>): Promise<string> {
  const data = new Promise<Buffer>((resolve) => socket.once('data', resolve));
  const bytes = await Promise.race([data, closed.then(() => undefined)]);
  socket.resume();
  return /^HTTP\/1\.1 (\d{3})/.exec(bytes?.toString('latin1') ?? '')?.[1] ?? 'none';
}

/** Pools open and close a few connections of their own. */
const SPARE_DESCRIPTORS = 8;
const MORE_MEMORY = 256 * 1024 * 1024;

/**
 * Sends the runs, and rejects unless the same process answers afterwards, with no descriptor and little memory more.
 */
export async function surviveRaw(
  farm: Farm,
  options: { runs: number; seed: number },
): Promise<RawReport> {
  const { pid } = farm.master;
  const tokens = await rawTokens(farm);
  // What is made once, at the first of each kind, is no leak.
  await sendRaw(farm.url, tokens, { runs: 40, seed: options.seed + 1 });
  const lines = new Set(farm.master.output.split('\n'));
  const before = { fds: descriptors(pid), rss: rssBytes(pid), lines };
  const report = await sendRaw(farm.url, tokens, options);
  await ask(farm, '/about');
  if (farm.master.exitCode !== null) throw new Error(`the master ended:\n${farm.master.output}`);
  await eventually(() => descriptors(pid) <= before.fds + SPARE_DESCRIPTORS, {
    what: `the master's ${before.fds} descriptors of before`,
    saw: () => `${descriptors(pid)} descriptors, ${JSON.stringify(report)}`,
  });
  const more = rssBytes(pid) - before.rss;
  if (more > MORE_MEMORY) throw new Error(`${Math.round(more / 1024 / 1024)} MiB of memory more`);
  const error = farm.master.output
    .split('\n')
    .find((line) => /"level":"(error|fatal)"/.test(line) && !before.lines.has(line));
  if (error) throw new Error(`the master logs an error of its own: ${error}`);
  return report;
}
