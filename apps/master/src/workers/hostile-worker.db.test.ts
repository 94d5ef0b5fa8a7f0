import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { NewRegistrationToken, WorkerCredential } from '@impgem/client';
import { CLOSE } from '@impgem/protocol';
import { HostileTraffic, type HeldRef } from '@impgem/testkit';
import { until } from '../scheduling/testing.js';
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

/** A worker of its own builder, with so many builds of it. */
async function holder(count = 1): Promise<{ worker: FakeWorker; held: HeldRef[]; token: string }> {
  const { name, token } = await newWorker();
  const worker = await connect(token);
  await worker.hello();
  const held = await more(worker, name, count);
  return { worker, held, token };
}
async function more(worker: FakeWorker, name: string, count: number): Promise<HeldRef[]> {
  const builder = `{ workers: [${name}], steps: [{ name: one, run: 'true' }, { name: two, run: x }] }`;
  const source = `builders: { only-${name}: ${builder} }`;
  await master.call('PUT', '/api/v1/farm', { json: { source } });
  for (let n = 0; n < count; n++) await ask('/build-requests', { builder: `only-${name}` });
  worker.send({ type: 'credit', add: count });
  const held: HeldRef[] = [];
  for (let n = 0; n < count; n++) {
    const { build, epoch } = await worker.next('assign');
    held.push({ build, epoch });
  }
  return held;
}
/** Settles when the master has dealt with what was sent: it is closed, or it answers. */
async function dealtWith(worker: FakeWorker): Promise<'closed' | 'open'> {
  let heard = false;
  worker.socket.once('pong', () => (heard = true));
  if (!worker.closed) worker.socket.ping();
  await until(() => heard || worker.closed !== undefined);
  return worker.closed ? 'closed' : 'open';
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

  it('is told of a path that escapes make long, in a message that fits', async () => {
    const { worker, held } = await holder();
    const path = '\u0001'.repeat(200);
    const file = { artifact: 0, path, size: 0, mode: 0 };
    const files = [{ ...file, sha256: '0'.repeat(64) }];
    worker.send({ type: 'artifact.offer', ...held[0], ...file, files });
    const { reason } = await worker.next('artifact.refused');
    expect(reason).toMatchObject({
      code: 'artifact-refused',
      message: expect.stringContaining('…'),
    });
    expect(await dealtWith(worker)).toBe('open');
  });

  it('gets an answer that can be sent, or is closed, whatever it says', async () => {
    // Its database is there: that it cannot store or say something would be the master's own fault.
    const codes = new Set<number>([CLOSE.badMessage, CLOSE.notYours]);
    const traffic = new HostileTraffic(1);
    let { worker, held, token } = await holder(2);
    const sent: string[] = [];
    for (let n = 0; n < 800; n++) {
      const { what, frame } = traffic.next(held);
      sent.push(what);
      worker.send(frame);
      if (n % 8 > 0 || (await dealtWith(worker)) === 'open') continue;
      const { code, reason } = worker.closed ?? { code: 0, reason: '' };
      expect({ code, reason, known: codes.has(code), after: sent.slice(-8) }).toMatchObject({
        known: true,
      });
      worker = await connect(token);
      const builds = held.map((ref) => ({ ...ref, seq: 4_000_000_000, finished: false }));
      const welcome = await worker.hello({ builds });
      held = welcome.builds.filter(({ verdict }) => verdict === 'continue');
      if (held.length === 0) ({ worker, held, token } = await holder(2));
    }
    expect((await master.call('GET', '/health/ready')).status).toBe(200);
  });

  it('that gives every build back gets few, and others get them', async () => {
    const source = `builders: { b: { image: busybox, steps: [{ name: one, run: 'true' }] } }`;
    await master.call('PUT', '/api/v1/farm', { json: { source } });
    const hostile = await connect((await newWorker()).token);
    await hostile.hello();
    hostile.socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as { type: string; build: number; epoch: number };
      if (message.type !== 'assign') return;
      const { build, epoch } = message;
      const reason = { code: 'draining', message: 'not me' };
      hostile.send({ type: 'refuse', build, epoch, reason });
      hostile.send({ type: 'credit', add: 1 });
    });
    hostile.send({ type: 'credit', add: 1 });
    const { id: request } = await ask<{ id: number }>('/build-requests', { builder: 'b' });
    await hostile.next('assign');
    const good = await connect((await newWorker()).token);
    await good.hello();
    good.send({ type: 'credit', add: 1 });
    expect((await good.next('assign')).epoch).toBe(2);
    const answer = await master.call('GET', `/api/v1/build-requests/${request}`);
    const { builds } = (await answer.json()) as { builds: object[] };
    expect(builds).toMatchObject([{ result: 'retry' }, { result: null }]);
  });

  it('has a few connections at once, not the places of all', async () => {
    const { token } = await newWorker();
    // Also when they come all at once.
    const burst = await Promise.allSettled(Array.from({ length: 40 }, () => connect(token)));
    expect(burst.filter(({ status }) => status === 'fulfilled')).toHaveLength(8);
    await expect(connect(token)).rejects.toThrow('HTTP 429');
    await connect((await newWorker()).token);
    opened[0]?.socket.terminate();
    const again = async (): Promise<unknown> => connect(token).catch(() => again());
    await again();
  });
});
