import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { NewRegistrationToken, Worker, WorkerCredential } from '@impgem/client';
import { CLOSE } from '@impgem/protocol';
import { startMaster, type Master } from '../master.js';
import { withConfig } from '../platform/index.js';
import { until } from '../scheduling/testing.js';
import { testMaster, type TestMaster } from '../testing.js';
import { FakeWorker } from './testing.js';

const LOST_AFTER_MS = 1500;
let first: TestMaster;
let second: Master;
let dataDir: string;
beforeAll(async () => {
  first = await testMaster({ lostAfterMs: LOST_AFTER_MS });
  dataDir = await mkdtemp(path.join(tmpdir(), 'impgem-test-second-'));
  second = await startMaster(withConfig(first.config, { dataDir }));
});
afterAll(async () => {
  await second?.stop();
  await first?.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function ask<T>(method: string, target: string, json?: unknown, token?: string): Promise<T> {
  const answer = await first.call(method, `/api/v1${target}`, {
    ...(json === undefined ? {} : { json }),
    ...(token === undefined ? {} : { token }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status} ${text}`);
  return (text ? JSON.parse(text) : undefined) as T;
}
async function register(name: string): Promise<WorkerCredential> {
  const { token } = await ask<NewRegistrationToken>('POST', '/registration-tokens', {});
  return ask('POST', '/workers/register', { name }, token);
}
const shown = (name: string) => ask<Worker>('GET', `/workers/${name}`);
async function submit(workers: string[], more = ''): Promise<number> {
  const builder = `on-${workers.join('-')}`;
  const source = `builders: { ${builder}: { workers: [${workers.join(', ')}], image: busybox${more}, steps: [{ name: one, run: 'true' }] } }`;
  await ask('PUT', '/farm', { source });
  return (await ask<{ id: number }>('POST', '/build-requests', { builder })).id;
}
const build = (id: number) =>
  ask<{ state: string; result: string | null; reason: { code: string } | null }>(
    'GET',
    `/builds/${id}`,
  );

describe('two masters of one database', () => {
  it('hand out what was submitted to the other, and cut off whom the other revoked', async () => {
    const credential = await register('remote');
    const worker = await FakeWorker.connect(second.url, credential.token);
    await worker.hello();
    worker.send({ type: 'credit', add: 1 });
    await submit(['remote']);
    expect(await worker.next('assign')).toMatchObject({ epoch: 1 });
    expect(await ask('GET', '/workers/remote')).toMatchObject({ state: 'online', running: 1 });
    await ask('DELETE', '/workers/remote');
    expect((await worker.ended()).code).toBe(CLOSE.revoked);
  });

  it('tell what a worker of the other says of itself', async () => {
    const credential = await register('told');
    const worker = await FakeWorker.connect(second.url, credential.token);
    await worker.hello();
    worker.send({ type: 'heartbeat', running: 0, diskFree: 5, spooled: 3e9 });
    await until(async () => (await shown('told')).diskFree === 5);
    expect(await shown('told')).toMatchObject({ spooled: 3e9, lowDisk: null });
    worker.send({ type: 'heartbeat', running: 0, diskFree: 6 });
    await until(async () => (await shown('told')).diskFree === 6);
    expect((await shown('told')).spooled).toBeNull();
    await worker.close();
  });

  it('pass cancels on to where the worker is', async () => {
    const credential = await register('cancelled');
    const worker = await FakeWorker.connect(second.url, credential.token);
    await worker.hello();
    worker.send({ type: 'credit', add: 1 });
    await submit(['cancelled']);
    const { build } = await worker.next('assign');
    await ask('POST', `/builds/${build}/cancel`, {});
    expect(await worker.next('cancel')).toMatchObject({ build });
    await worker.close();
  });

  it('let a worker move, with its build and without its old connection', async () => {
    const credential = await register('moving');
    const before = await FakeWorker.connect(second.url, credential.token);
    await before.hello();
    before.send({ type: 'credit', add: 2 });
    await submit(['moving']);
    const { build: id, epoch } = await before.next('assign');
    const after = await FakeWorker.connect(first.url, credential.token);
    const welcome = await after.hello({ builds: [{ build: id, epoch, seq: 0, finished: false }] });
    expect(welcome.builds).toMatchObject([{ build: id, verdict: 'continue' }]);
    expect((await before.ended()).code).toBe(CLOSE.replaced);
    after.event({ build: id, epoch }, 1, { kind: 'build.finished', result: 'success' });
    await after.next('release');
    expect(after.closed).toBeUndefined();
    await after.close();
  });
});

describe('a worker that goes away', () => {
  it('loses its build to another after a while, and gets it stopped when it is back', async () => {
    const [gone, other] = [await register('gone'), await register('other')];
    const worker = await FakeWorker.connect(first.url, gone.token);
    await worker.hello();
    worker.send({ type: 'credit', add: 1 });
    await submit(['gone', 'other']);
    const { build: id, epoch } = await worker.next('assign');
    worker.socket.terminate();
    await until(async () => (await build(id)).state === 'finished');
    expect(await build(id)).toMatchObject({ result: 'retry', reason: { code: 'worker-lost' } });
    const successor = await FakeWorker.connect(first.url, other.token);
    await successor.hello();
    successor.send({ type: 'credit', add: 1 });
    const again = await successor.next('assign');
    expect(again.epoch).toBe(epoch + 1);
    const back = await FakeWorker.connect(first.url, gone.token);
    const held = { build: id, epoch, seq: 3, finished: false };
    expect((await back.hello({ builds: [held] })).builds).toMatchObject([{ verdict: 'stop' }]);
    successor.event(again, 1, { kind: 'build.finished', result: 'success' });
    await successor.next('release');
    await back.close();
    await successor.close();
  });

  it('goes on when it is back before anyone else has claimed its build', async () => {
    const credential = await register('slow');
    const worker = await FakeWorker.connect(first.url, credential.token);
    await worker.hello();
    worker.send({ type: 'credit', add: 1 });
    await submit(['slow']);
    const { build: id, epoch } = await worker.next('assign');
    worker.event({ build: id, epoch }, 1, { kind: 'build.started' });
    await worker.next('ack');
    worker.socket.terminate();
    await until(async () => (await build(id)).state === 'finished');
    const back = await FakeWorker.connect(first.url, credential.token);
    const held = { build: id, epoch, seq: 2, finished: true };
    expect((await back.hello({ builds: [held] })).builds).toMatchObject([
      { verdict: 'continue', seq: 1 },
    ]);
    back.event({ build: id, epoch }, 2, { kind: 'build.finished', result: 'success' });
    await back.next('release');
    expect(await build(id)).toMatchObject({ state: 'finished', result: 'success' });
    await back.close();
  });
});

describe('a master that stops', () => {
  it('tells its workers to come back within seconds, and another takes them in with their builds', async () => {
    const [waiting, busy] = await Promise.all([register('waiting'), register('busy')]);
    const worker = await FakeWorker.connect(second.url, waiting.token);
    await worker.hello();
    const builder = await FakeWorker.connect(second.url, busy.token);
    await builder.hello();
    builder.send({ type: 'credit', add: 1 });
    // what takes a test long is no silence
    const request = await submit(['busy'], ', lost-after: 5m');
    const { build: id, epoch } = await builder.next('assign');
    const ref = { build: id, epoch };
    builder.event(ref, 1, { kind: 'build.started' });
    await builder.next('ack');

    await second.stop();
    expect((await worker.ended()).code).toBe(CLOSE.restart);
    expect((await builder.ended()).code).toBe(CLOSE.restart);
    expect(await ask('GET', '/workers/waiting')).toMatchObject({ state: 'offline' });
    expect(await ask('GET', '/workers/busy')).toMatchObject({ state: 'suspect', running: 1 });

    const back = await FakeWorker.connect(first.url, busy.token);
    const welcome = await back.hello({ builds: [{ ...ref, seq: 2, finished: true }] });
    expect(welcome.builds).toEqual([{ ...ref, verdict: 'continue', seq: 1, cancel: false }]);
    back.event(ref, 2, { kind: 'build.finished', result: 'success' });
    await back.next('release');
    const attempts = [{ id, state: 'finished', result: 'success' }];
    expect(await ask('GET', `/build-requests/${request}`)).toMatchObject({ builds: attempts });
    const { items } = await ask<{ items: { kind: string }[] }>('GET', `/events?build=${id}`);
    expect(items.map(({ kind }) => kind)).not.toContain('worker.lost');
    await back.close();
  });
});
