import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { readConfig } from './config.js';
import { credentialOf } from './registration.js';

const log = pino({ level: 'silent' });
const registrationToken = `igr_abcdefghijkl_${'s'.repeat(43)}`;
const credential = {
  id: '00000000-0000-4000-8000-000000000001',
  name: 'w1',
  farm: '00000000-0000-4000-8000-000000000002',
  token: `igw_00000000000040008000000000000001_${'s'.repeat(43)}`,
};
const hello = {
  version: '0.1.0',
  process: '00000000-0000-4000-8000-000000000003',
  platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
  executor: 'scripted' as const,
  labels: [],
  slots: 1,
};

let dir: string;
let server: Server;
let asked: { headers: IncomingMessage['headers']; body: string }[];
let answers: { status: number; body: object }[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'impgem-registration-'));
  asked = [];
  answers = [];
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => (body += String(piece)));
    request.on('end', () => {
      asked.push({ headers: request.headers, body });
      const answer = answers.shift() ?? { status: 201, body: credential };
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(dir, { recursive: true });
});

async function register(env: Record<string, string> = {}) {
  const { port } = server.address() as AddressInfo;
  const config = readConfig({
    IMPGEM_WORKER_DATA: dir,
    IMPGEM_WORKER_NAME: 'w1',
    IMPGEM_MASTER_URL: `http://127.0.0.1:${port}/farm/`,
    IMPGEM_REGISTRATION_TOKEN: registrationToken,
    ...env,
  });
  return credentialOf(config, hello, log);
}

describe('registration', () => {
  it('happens once, and keeps the credential to itself', async () => {
    expect(await register({ IMPGEM_WORKER_LABELS: 'gpu' })).toEqual(credential);
    expect(await register()).toEqual(credential);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.headers.authorization).toBe(`Bearer ${registrationToken}`);
    expect(JSON.parse(asked[0]?.body ?? '')).toEqual({ name: 'w1', labels: ['gpu'] });
    const path = join(dir, 'credential.json');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(credential);
  });

  it('takes a rotated token for the same worker', async () => {
    await register();
    const token = `igw_00000000000040008000000000000001_${'t'.repeat(43)}`;
    expect(await register({ IMPGEM_WORKER_TOKEN: token })).toEqual({ ...credential, token });
  });

  it('waits for a master that is not ready', async () => {
    answers = [{ status: 503, body: { code: 'database-unavailable' } }];
    expect(await register()).toEqual(credential);
    expect(asked).toHaveLength(2);
  });

  it.each([
    ['unauthenticated', 401, 'does not know this registration token'],
    ['token-expired', 401, 'has expired. Make a new one'],
    ['token-used-up', 401, 'is used up. Make a new one'],
    ['token-revoked', 401, 'was revoked. Make a new one'],
    ['name-taken', 409, 'Set IMPGEM_WORKER_NAME'],
    ['label-not-allowed', 403, 'gpu is not allowed'],
  ])('says what to do when the master answers %s', async (code, status, message) => {
    answers = [{ status, body: { code, detail: 'gpu is not allowed' } }];
    await expect(register()).rejects.toMatchObject({
      code: 'credential',
      message: expect.stringContaining(message),
    });
  });

  it('says what to do without any token, and with a damaged file', async () => {
    await expect(register({ IMPGEM_REGISTRATION_TOKEN: '' })).rejects.toThrow('impgem workers add');
    await writeFile(join(dir, 'credential.json'), '{');
    await expect(register()).rejects.toThrow('is damaged');
  });

  it('names the file of an authority that is none', async () => {
    const file = join(dir, 'ca.pem');
    const env = { IMPGEM_MASTER_URL: 'https://127.0.0.1:9', IMPGEM_CA_FILE: file };
    const refused = () =>
      expect(register(env)).rejects.toMatchObject({
        code: 'config',
        message: expect.stringMatching(/ca\.pem is no certificate in PEM/),
      });
    await refused();
    await writeFile(file, 'no certificate');
    await refused();
    await writeFile(file, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    await refused();
  });

  it('does not send a token in the clear to another machine', async () => {
    const env = { IMPGEM_MASTER_URL: 'http://farm.example.org' };
    await expect(register(env)).rejects.toMatchObject({ code: 'insecure' });
  });
});
