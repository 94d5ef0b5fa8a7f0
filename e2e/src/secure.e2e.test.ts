import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { request } from 'node:https';
import { connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { makeCertificates, type Certificates } from './certificates.js';
import { startFarm, type Farm } from './farm.js';
import { surviveRaw } from './hostile/send-raw.js';
import { findNginx } from './nginx.js';
import { Program, ROOT } from './program.js';

const FARM = `
builders:
  hello:
    steps: [{ name: greet, run: 'echo "hello, farm" | tee greeting.txt' }]
    artifacts: [greeting.txt]
`;
/** A name that nothing resolves but the proxy of this test. */
const FAR_NAME = 'farm.test';

const dir = await mkdtemp(join(tmpdir(), 'impgem-secure-'));
await chmod(dir, 0o755);
const nginx = await findNginx(join(dir, 'nginx'));
let certificates: Certificates;

beforeAll(async () => {
  certificates = await makeCertificates(dir, ['IP:127.0.0.1', `DNS:${FAR_NAME}`]);
  await writeFile(join(dir, 'farm.yml'), FARM);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** The command line, as somebody runs it whose machine knows the authority. */
async function impgem(farm: Farm, url: string, ...words: string[]): Promise<string> {
  const program = new Program(
    `impgem ${words.join(' ')}`,
    [process.execPath, join(ROOT, 'apps/cli/bundle/main.js'), ...words],
    { IMPGEM_URL: url, IMPGEM_TOKEN: farm.token, NODE_EXTRA_CA_CERTS: certificates.ca },
    dir,
  );
  await program.succeeds();
  return program.stdout;
}

/** A worker with a token from the master at this address; it is stopped with the farm. */
async function addWorker(farm: Farm, url: string, name: string, more: Record<string, string>) {
  const made = await impgem(farm, url, 'workers', 'add', '--json');
  const { token } = JSON.parse(made) as { token: string };
  const command = [process.execPath, join(ROOT, 'apps/worker/bundle/main.js')];
  const env = { ...farm.workerEnv(name, token), IMPGEM_MASTER_URL: url, ...more };
  await mkdir(join(farm.dataDir, name), { recursive: true });
  const worker = new Program(name, command, env);
  farm.workers.push(worker);
  return worker;
}

/** Builds by the command line, which follows over the live socket, on the worker of this name. */
async function builds(farm: Farm, url: string): Promise<void> {
  await impgem(farm, url, 'apply', join(dir, 'farm.yml'));
  expect(await impgem(farm, url, 'trigger', 'hello', '--watch')).toContain('hello, farm');
  await impgem(farm, url, 'artifacts', 'hello#1', '--download', join(farm.dataDir, 'out'));
  expect(await readFile(join(farm.dataDir, 'out/greeting.txt'), 'utf8')).toBe('hello, farm\n');
}

/** A proxy that knows CONNECT alone, wants a password, and takes every name for this machine. */
async function startProxy(): Promise<{ server: Server; port: number; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((_, response) => response.writeHead(405).end());
  server.on('connect', (asking, socket: Socket) => {
    const sent = asking.headers['proxy-authorization'] ?? '';
    if (Buffer.from(sent.replace('Basic ', ''), 'base64').toString() !== 'me:secret') {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    asked.push(asking.url ?? '');
    const onward = connect(Number(asking.url?.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(onward).pipe(socket);
    });
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as { port: number }).port, asked };
}

describe('a master with a certificate of its own authority', () => {
  let farm: Farm;
  beforeAll(async () => {
    farm = await startFarm({
      executor: 'host',
      workers: 0,
      masterEnv: { IMPGEM_TLS_CERT: certificates.cert, IMPGEM_TLS_KEY: certificates.key },
    });
  });
  afterAll(() => farm?.stop());

  it('is not trusted by a worker that does not know the authority, which says what to set', async () => {
    expect(farm.url).toMatch(/^https:/);
    const worker = await addWorker(farm, farm.url, 'doubter', {});
    expect(await worker.ended()).toBe(3);
    expect(worker.output).toMatch(/certificate.*IMPGEM_CA_FILE/);
  });

  it('serves a worker that has the file of the authority', async () => {
    const worker = await addWorker(farm, farm.url, 'near', { IMPGEM_CA_FILE: certificates.ca });
    await worker.line((line) => line.includes('"msg":"ready"'));
    const credential = join(farm.dataDir, 'near/credential.json');
    expect((await stat(credential)).mode & 0o777).toBe(0o600);
    await builds(farm, farm.url);
    await worker.stop();
  });

  it('is the same process, with no descriptor more, after bytes of any kind', async () => {
    const { answers } = await surviveRaw(farm, { runs: 300, seed: 12 });
    expect(answers['101']).toBeGreaterThan(5);
  });

  it('serves a worker that reaches it through a proxy alone', async () => {
    const proxy = await startProxy();
    const { port } = new URL(farm.url);
    const worker = await addWorker(farm, farm.url, 'far', {
      IMPGEM_MASTER_URL: `https://${FAR_NAME}:${port}`,
      IMPGEM_CA_FILE: certificates.ca,
      HTTPS_PROXY: `http://me:secret@127.0.0.1:${proxy.port}`,
    });
    try {
      await worker.line((line) => line.includes('"msg":"ready"'));
      expect(await impgem(farm, farm.url, 'trigger', 'hello', '--watch')).toContain('hello, farm');
      // one to register, one to stay
      expect(proxy.asked).toEqual([`${FAR_NAME}:${port}`, `${FAR_NAME}:${port}`]);
      expect(worker.output).not.toContain('secret');
    } finally {
      await worker.stop();
      proxy.server.close();
    }
  });
});

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** The example of this repository, with this machine's paths and ports. */
async function nginxExample(farm: Farm, port: number): Promise<string> {
  const example = await readFile(join(ROOT, 'docker/nginx.conf'), 'utf8');
  const server = example
    .replace('listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`)
    .replace('/etc/ssl/farm.example.org.crt', certificates.cert)
    .replace('/etc/ssl/farm.example.org.key', certificates.key)
    .replace('http://127.0.0.1:8010', farm.url);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${dir}/${name};`,
  );
  return `daemon off;
master_process off;
error_log stderr;
pid ${dir}/nginx.pid;
events {}
http {
access_log off;
${temporary.join('\n')}
${server}
}
`;
}

interface Answer {
  status: number;
  cookie: string;
}

/** Signs in as the page does. */
function signIn(url: string, token: string, ca: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { origin: url, 'content-type': 'application/json' };
    const asking = request(`${url}/api/v1/session`, { method: 'POST', headers, ca }, (answer) => {
      answer.resume();
      const cookie = String(answer.headers['set-cookie']);
      resolve({ status: answer.statusCode ?? 0, cookie });
    });
    asking.on('error', reject);
    asking.end(JSON.stringify({ token }));
  });
}

(nginx ? describe : describe.skip)('a master behind nginx, by the example in docker/', () => {
  let farm: Farm;
  let proxy: Program;
  let url: string;
  beforeAll(async () => {
    const port = await freePort();
    url = `https://127.0.0.1:${port}`;
    const behind = { IMPGEM_PUBLIC_URL: url, IMPGEM_TRUST_PROXY: '127.0.0.1' };
    farm = await startFarm({ executor: 'host', workers: 0, masterEnv: behind });
    await writeFile(join(dir, 'nginx.conf'), await nginxExample(farm, port));
    const files = ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', 'stderr'];
    proxy = new Program('nginx', [nginx ?? '', ...files], {});
  });
  afterAll(async () => {
    await proxy?.stop();
    await farm?.stop();
  });

  it('serves workers by wss, viewers by wss, and REST', async () => {
    const worker = await addWorker(farm, url, 'near', { IMPGEM_CA_FILE: certificates.ca });
    await worker.line((line) => line.includes('"msg":"ready"'));
    await builds(farm, url);
  });

  it('lets the page sign in, with a cookie for https alone', async () => {
    const ca = await readFile(certificates.ca, 'utf8');
    const answer = await signIn(url, farm.token, ca);
    expect(answer.status).toBe(201);
    expect(answer.cookie).toMatch(/^__Host-.*; Secure/i);
  });
});
