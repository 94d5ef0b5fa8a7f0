import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Worker } from '@impgem/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { connection } from '../cli.js';
import { problem, ScriptedMaster } from '../testing/scripted-master.js';
import { examineMaster } from './examine-master.js';
import { examineMachine } from './examine-machine.js';

const run = promisify(execFile);
const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** What is not `ok`, one line each. */
async function problems(url: string, token: string | null = 'igt_a_b'): Promise<string[]> {
  const { found } = await examineMaster(
    connection({ url, token: token ?? undefined, from: '--token' }, false),
  );
  return found
    .filter(({ status }) => status !== 'ok')
    .map(({ check, status, text, mend }) => `${status} ${check}: ${text} → ${mend}`);
}
async function listening(server: Server, scheme = 'http', host = '127.0.0.1'): Promise<string> {
  servers.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return `${scheme}://${host}:${(server.address() as AddressInfo).port}`;
}

/** What is said of a clock that goes wrong by so much. */
async function clockProblems(ms: number): Promise<string[]> {
  const server = createServer((_, response) => {
    response.setHeader('date', new Date(Date.now() + ms).toUTCString());
    response.end(JSON.stringify({ ...HEALTHY, database: 'down' }));
  });
  return (await problems(await listening(server))).filter((line) => line.includes('clock'));
}

const HEALTHY = { status: 'ok', state: 'serving', database: 'up', problems: [] };
const aWorker = (change: Partial<Worker>): Partial<Worker> => ({
  name: 'w',
  state: 'online',
  version: '0.1.0',
  lowDisk: null,
  quarantine: null,
  refusedLabels: [],
  spooled: null,
  ...change,
});

describe('a master that answers', () => {
  let master: ScriptedMaster;
  let url: string;
  beforeEach(async () => {
    master = new ScriptedMaster();
    url = await master.start();
    master.answers.set('GET /health/ready', HEALTHY);
    master.answers.set('GET /session', { actor: 'token:t', scopes: ['read'] });
    master.answers.set('GET /about', {
      farm: 'f',
      version: '0.1.0',
      time: new Date().toISOString(),
      database: { version: '18.4', embedded: true },
    });
    master.answers.set('GET /workers', { items: [aWorker({})], next: null });
  });
  afterEach(() => master.stop());

  it('and is well, is well', async () => {
    expect(await problems(url)).toEqual([]);
  });

  it('says what it complains of', async () => {
    const full = 'the disk of the data folder has 5 MiB free';
    master.answers.set('GET /health/ready', { ...HEALTHY, problems: [full] });
    expect(await problems(url)).toEqual([expect.stringContaining(`warn master: ${full}`)]);
    master.answers.set('GET /health/ready', {
      status: 'unavailable',
      state: 'serving',
      database: 'down',
      problems: ['the database does not answer'],
    });
    expect(await problems(url)).toEqual([
      expect.stringMatching(/^fail master: .*the database does not answer → start the database/),
    ]);
  });

  it('refuses a token, and says where to get another', async () => {
    master.answers.set('GET /session', problem('token-expired', 401, 'it has expired'));
    expect(await problems(url)).toEqual([
      expect.stringMatching(
        /^fail token: the one from --token is refused: it has expired → .*token create/,
      ),
    ]);
    expect(await problems(url, null)).toEqual([
      expect.stringMatching(/^fail token: none was given.*IMPGEM_TOKEN/),
    ]);
  });

  it('names each worker that is not well, and other versions', async () => {
    master.answers.set('GET /workers', {
      items: [
        aWorker({ name: 'old', version: '0.0.9' }),
        aWorker({ name: 'gone', state: 'lost' }),
        aWorker({ name: 'away', state: 'offline' }),
        aWorker({ name: 'ends', state: 'draining' }),
        aWorker({
          name: 'bad',
          state: 'quarantined',
          quarantine: { until: '2100-01-01T00:00:00.000Z', strikes: 3, reason: null },
        }),
        aWorker({ name: 'full', state: 'low-disk', lowDisk: '/d has 1 MiB free: make room there' }),
      ],
      next: null,
    });
    expect(await problems(url)).toEqual([
      expect.stringContaining('old is version 0.0.9'),
      expect.stringContaining('gone is lost'),
      expect.stringContaining('impgem workers revoke away'),
      expect.stringContaining('ends is draining'),
      expect.stringMatching(/bad is given no builds until 2100.*impgem workers resume bad/),
      'warn workers: full takes no work: /d has 1 MiB free → make room there',
    ]);
    master.answers.set('GET /workers', { items: [], next: null });
    expect(await problems(url)).toEqual([expect.stringContaining('impgem workers add')]);
  });
});

describe('what is no master, or not there', () => {
  it('is told apart', async () => {
    const other = await listening(
      createServer((_, response) => response.end('<html>hello</html>')),
    );
    expect(await problems(other)).toEqual([expect.stringContaining('is no master')]);
    const json = await listening(createServer((_, response) => response.end('{}')));
    expect(await problems(json)).toEqual([expect.stringContaining('is no master')]);
    const gone = createServer();
    const address = await listening(gone);
    await new Promise((resolve) => gone.close(resolve));
    expect(await problems(address)).toEqual([expect.stringMatching(/nobody listens.*impgem up/)]);
    const cut = await listening(createServer((request) => request.socket.destroy()));
    expect(await problems(cut)).toEqual([expect.stringContaining('is it https:// there?')]);
  });

  it('has a name that is not found', async () => {
    expect((await problems('http://master.invalid'))[0]).toMatch(
      /^fail DNS: the name master.invalid is not found.*resolv.conf/,
    );
  });

  it('or has another time', async () => {
    expect(await clockProblems(0)).toEqual([]);
    expect((await clockProblems(20_000))[0]).toMatch(/^warn clock.*apart → run a time service/);
    expect((await clockProblems(-3600_000))[0]).toMatch(/^fail clock.*3\d\d\d s apart/);
  });
});

describe('a certificate', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'impgem-doctor-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function serve(days: string, name: string, host = '127.0.0.1'): Promise<string> {
    const [key, cert] = [join(folder, `${days}.key`), join(folder, `${days}.pem`)];
    const make = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const about = ['-nodes', '-subj', '/CN=t', '-addext', `subjectAltName=${name}`, '-days', days];
    await run('openssl', [...make, ...about, '-keyout', key, '-out', cert]);
    const pem = { key: await readFile(key), cert: await readFile(cert) };
    return listening(
      createTlsServer(pem, (_, response) => response.end('{}')),
      'https',
      host,
    );
  }

  it('that nobody known has signed is named, with what to set', async () => {
    const url = await serve('2', 'IP:127.0.0.1');
    expect(await problems(url)).toEqual([
      expect.stringMatching(
        /signed by nobody known \(DEPTH_ZERO.*NODE_EXTRA_CA_CERTS.*IMPGEM_CA_FILE/,
      ),
    ]);
    expect(await problems(url.replace('https', 'http'))).toEqual([
      expect.stringContaining('is it https:// there?'),
    ]);
  });
});

it('knows a Node that is too old', async () => {
  const [first] = await examineMachine('18.20.0');
  expect(first).toMatchObject({ status: 'fail', text: 'Node 18.20.0 is too old' });
});
