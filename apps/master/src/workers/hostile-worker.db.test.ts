import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { NewRegistrationToken, WorkerCredential } from '@impgem/client';
import { CLOSE } from '@impgem/protocol';
import { testMaster, type TestMaster } from '../testing.js';
import { FakeWorker } from './testing.js';

let master: TestMaster;
const opened: FakeWorker[] = [];
beforeAll(async () => {
  master = await testMaster();
});
afterAll(async () => master?.stop());
afterEach(() => {
  for (const worker of opened.splice(0)) worker.socket.terminate();
});

async function ask<T>(path: string, json: unknown, token = master.token): Promise<T> {
  const answer = await master.call('POST', `/api/v1${path}`, { json, token });
  return (await answer.json()) as T;
}
let names = 0;
async function newWorker(): Promise<WorkerCredential> {
  const { token } = await ask<NewRegistrationToken>('/registration-tokens', {});
  return ask<WorkerCredential>('/workers/register', { name: `hostile-${++names}` }, token);
}
async function connect(token: string): Promise<FakeWorker> {
  const worker = await FakeWorker.connect(master.url, token);
  opened.push(worker);
  return worker;
}

describe('a hostile worker', () => {
  const hello = '"type":"hello","version":"1","process":"6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1"';
  const platform = '"platform":{"os":"a","arch":"a","hostname":"a","cpus":1,"memory":1}';
  const rest = '"executor":"docker","labels":[],"slots":1';
  it.each([
    ['of brackets', `{${hello},"x":${'['.repeat(300_000)}${']'.repeat(300_000)}}`],
    ['with a list of lists', `{${hello},${platform},${rest},"builds":[[]]}`],
  ])('is closed for a hello %s, and the master lives on', async (_, text) => {
    const worker = await connect((await newWorker()).token);
    worker.send(text);
    expect((await worker.ended()).code).toBe(CLOSE.badMessage);
    expect((await master.call('GET', '/health/ready')).status).toBe(200);
  });

  it.each([`impgem.worker.v9${'9'.repeat(120)}`, `impgem.worker.v${'x'.repeat(8000)}`, 'chat'])(
    'is closed with what to upgrade, whatever version it offers',
    async (protocol) => {
      const { token } = await newWorker();
      const worker = await FakeWorker.connect(master.url, token, protocol);
      opened.push(worker);
      const { code, reason } = await worker.ended();
      expect([code, reason]).toEqual([CLOSE.version, expect.stringContaining('1.1')]);
      expect((await master.call('GET', '/health/ready')).status).toBe(200);
    },
  );

  it('does not keep others from being written down as heard', async () => {
    const worker = await connect((await newWorker()).token);
    await worker.hello();
    worker.send({ type: 'heartbeat', running: 0, diskFree: 1e300 });
    expect((await worker.ended()).code).toBe(CLOSE.badMessage);
  });

  it('has a few connections at once, not the places of all', async () => {
    const { token } = await newWorker();
    for (let count = 0; count < 8; count++) await connect(token);
    await expect(connect(token)).rejects.toThrow('HTTP 429');
    await connect((await newWorker()).token);
    opened[0]?.socket.terminate();
    const again = async (): Promise<unknown> => connect(token).catch(() => again());
    await again();
  });
});
