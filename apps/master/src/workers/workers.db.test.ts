import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { NewRegistrationToken, Worker, WorkerCredential } from '@impgem/client';
import { CLOSE, encodeFrame, type MasterMessage } from '@impgem/protocol';
import { Leases } from '../scheduling/index.js';
import { until } from '../scheduling/testing.js';
import { testMaster, type TestMaster } from '../testing.js';
import { FakeWorker } from './testing.js';

let master: TestMaster;
const opened: FakeWorker[] = [];
beforeAll(async () => {
  master = await testMaster();
});
afterAll(async () => master?.stop());
afterEach(async () => {
  for (const worker of opened.splice(0)) worker.socket.terminate();
});

const api = (path: string) => `/api/v1${path}`;
async function ask<T>(method: string, path: string, json?: unknown, token?: string): Promise<T> {
  const answer = await master.call(method, api(path), {
    ...(json === undefined ? {} : { json }),
    ...(token === undefined ? {} : { token }),
  });
  const text = await answer.text();
  if (!answer.ok)
    throw new Error(`${answer.status} ${(JSON.parse(text) as { code: string }).code}`);
  return (text ? JSON.parse(text) : undefined) as T;
}
const registrationToken = (wish: object = {}) =>
  ask<NewRegistrationToken>('POST', '/registration-tokens', wish);
const register = (token: string, name: string, labels?: string[]) =>
  ask<WorkerCredential>(
    'POST',
    '/workers/register',
    { name, ...(labels ? { labels } : {}) },
    token,
  );
let names = 0;
async function newWorker(): Promise<WorkerCredential> {
  return register((await registrationToken()).token, `w-${++names}`);
}
async function connect(token: string | undefined, protocol?: string | string[]) {
  const worker = await FakeWorker.connect(master.url, token, protocol);
  opened.push(worker);
  return worker;
}
async function greeted(credential: WorkerCredential, hello: object = {}): Promise<FakeWorker> {
  const worker = await connect(credential.token);
  await worker.hello(hello);
  return worker;
}
const shown = (name: string) => ask<Worker>('GET', `/workers/${name}`);

/** A request for one worker alone. */
async function submit(worker: string): Promise<number> {
  const source = `builders: { only-${worker}: { workers: [${worker}], image: busybox, steps: [{ name: one, run: 'true' }] } }`;
  await ask('PUT', '/farm', { source });
  return (await ask<{ id: number }>('POST', '/build-requests', { builder: `only-${worker}` })).id;
}
async function running(): Promise<
  FakeWorker & {
    ref: { build: number; epoch: number };
    credential: WorkerCredential;
    request: number;
  }
> {
  const credential = await newWorker();
  const worker = await greeted(credential);
  worker.send({ type: 'credit', add: 1 });
  const request = await submit(credential.name);
  const { build, epoch } = await worker.next('assign');
  return Object.assign(worker, { ref: { build, epoch }, credential, request });
}
const build = (id: number) =>
  ask<{ state: string; result: string | null; reason: { code: string } | null }>(
    'GET',
    `/builds/${id}`,
  );

/** Moves the clock of its leases instead of waiting. */
const silentFor = (seconds: number, workerId: string) =>
  master.database.transaction(async (tx) => {
    const then = `now() - ${seconds} * interval '1 second'`;
    await tx.query(`UPDATE workers SET last_seen_at = ${then} WHERE id = $1`, [workerId]);
    await tx.query(`UPDATE leases SET granted_at = ${then} WHERE worker_id = $1`, [workerId]);
  });

describe('registration', () => {
  it('turns one use of a token into a credential, once', async () => {
    const { token, id } = await registrationToken();
    const credential = await register(token, 'first');
    expect(credential).toMatchObject({ name: 'first', token: expect.stringMatching(/^igw_/) });
    await expect(register(token, 'second')).rejects.toThrow('401 token-used-up');
    const page = await ask<{ items: { id: string; usesLeft: number }[] }>(
      'GET',
      '/registration-tokens',
    );
    expect(page.items.find((item) => item.id === id)).toMatchObject({ usesLeft: 0 });
  });

  it('gives the last use to one of many that ask at once', async () => {
    const { token } = await registrationToken({ uses: 2 });
    const tries = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => register(token, `crowd-${n}`)),
    );
    expect(tries.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  });

  it('refuses an expired, revoked, wrong or missing token, and a label that it does not allow', async () => {
    const expired = await registrationToken({ expiresIn: 1 });
    const revoked = await registrationToken();
    await ask('DELETE', `/registration-tokens/${revoked.id}`);
    await expect(register(revoked.token, 'x')).rejects.toThrow('401 token-revoked');
    await expect(register(`igr_abcdefghijkl_${'a'.repeat(43)}`, 'x')).rejects.toThrow(
      '401 unauthenticated',
    );
    await expect(register(master.token, 'x')).rejects.toThrow('401 unauthenticated');
    const labelled = await registrationToken({ labels: ['gpu'] });
    await expect(register(labelled.token, 'x', ['gpu', 'prod'])).rejects.toThrow(
      '403 label-not-allowed',
    );
    await until(() => Date.parse(expired.expiresAt) < Date.now());
    await expect(register(expired.token, 'x')).rejects.toThrow('401 token-expired');
    await expect(register(labelled.token, 'labelled', ['gpu', 'os=linux'])).resolves.toBeDefined();
  });

  it('does not spend the use when the name is taken', async () => {
    const { token } = await registrationToken();
    const { name } = await newWorker();
    await expect(register(token, name)).rejects.toThrow('409 name-taken');
    await expect(register(token, 'another-name')).resolves.toBeDefined();
  });

  it('lists tokens in pages, newest first', async () => {
    const made = await Promise.all([registrationToken(), registrationToken(), registrationToken()]);
    type Listed = { items: { id: string }[]; next: string | null };
    const seen: string[] = [];
    for (let next: string | null = ''; next !== null;) {
      const after: string = next === '' ? '' : `&after=${encodeURIComponent(next)}`;
      const page: Listed = await ask<Listed>('GET', `/registration-tokens?limit=2${after}`);
      seen.push(...page.items.map(({ id }) => id));
      next = page.next;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.slice(0, 3).sort()).toEqual(made.map(({ id }) => id).sort());
    await expect(ask('GET', '/registration-tokens?after=x')).rejects.toThrow('400 invalid-request');
    await expect(ask('DELETE', '/registration-tokens/x%00')).rejects.toThrow('404 not-found');
    await expect(ask('GET', '/workers/a%00b')).rejects.toThrow('404 not-found');
  });

  it('is for admins to allow', async () => {
    const { token } = await master.newToken(['trigger']);
    await expect(ask('POST', '/registration-tokens', {}, token)).rejects.toThrow('403 forbidden');
    await expect(ask('DELETE', '/workers/first', undefined, token)).rejects.toThrow(
      '403 forbidden',
    );
  });
});

describe('a name', () => {
  it('is bound by the token: exact, or a beginning', async () => {
    const { token } = await registrationToken({ uses: 9, names: ['exact', 'ci-*'] });
    for (const name of ['exact-2', 'ex', 'ci', 'xci-1'])
      await expect(register(token, name)).rejects.toThrow('403 name-not-allowed');
    for (const name of ['exact', 'ci-1', 'ci-2']) await register(token, name);
    for (const names of [[], ['*'], ['a*b'], ['a**'], ['']])
      await expect(registrationToken({ names })).rejects.toThrow('400 invalid-request');
  });

  it('that a builder or a waiting request pins is taken with a token for it alone, revoked or not', async () => {
    const any = (await registrationToken({ uses: 9 })).token;
    const request = await submit('release-1');
    await expect(register(any, 'release-1')).rejects.toThrow('403 name-not-allowed');
    const own = (await registrationToken({ uses: 9, names: ['release-1'] })).token;
    await register(own, 'release-1');
    await ask('DELETE', '/workers/release-1');
    await expect(register(any, 'release-1')).rejects.toThrow('403 name-not-allowed');
    // The farm file does not name it any more; the request does.
    await submit('somebody-else');
    await expect(register(any, 'release-1')).rejects.toThrow('403 name-not-allowed');
    await ask('POST', `/build-requests/${request}/cancel`, {});
    await register(any, 'release-1');
  });
});

describe('labels', () => {
  it('that a token or the machine itself does not bear out are left out, told and shown', async () => {
    for (const labels of [[], undefined]) {
      const { token } = await registrationToken(labels ? { labels } : {});
      const name = `facts-${++names}`;
      const credential = await register(token, name);
      const worker = await connect(credential.token);
      const forged = ['os=windows', 'arch=arm64', 'executor=docker', 'os=linux2'];
      const gpu = labels ? ['gpu'] : [];
      const welcome = await worker.hello({
        labels: ['os=linux', 'arch=amd64', 'executor=scripted', ...forged, ...gpu],
      });
      expect(welcome.refusedLabels).toEqual([...forged, ...gpu]);
      expect(await shown(name)).toMatchObject({
        labels: ['os=linux', 'arch=amd64', 'executor=scripted'],
        refusedLabels: [...forged, ...gpu],
      });
    }
  });
});

describe('the upgrade', () => {
  it('is refused without a worker token that is in force', async () => {
    const { token, name } = await newWorker();
    const wrong = `${token.slice(0, -4)}AAAA`;
    for (const bad of [undefined, 'rubbish', master.token, wrong])
      await expect(connect(bad)).rejects.toThrow('HTTP 401');
    await ask('DELETE', `/workers/${name}`);
    await expect(connect(token)).rejects.toThrow('HTTP 401');
  });

  it('closes with the advice when no version fits', async () => {
    const { token } = await newWorker();
    const worker = await connect(token, 'impgem.worker.v9.0');
    expect(await worker.ended()).toEqual({
      code: CLOSE.version,
      reason: 'worker speaks protocol 9.0, master 1.1: upgrade the master',
    });
    expect((await (await connect(token, [])).ended()).code).toBe(CLOSE.version);
  });
});

describe('a connection', () => {
  it('is welcomed and shown', async () => {
    const credential = await newWorker();
    expect(await shown(credential.name)).toMatchObject({
      state: 'offline',
      slots: 0,
      platform: null,
    });
    const worker = await connect(credential.token);
    const welcome = await worker.hello({ labels: ['os=linux', 'big'] });
    expect(welcome).toMatchObject({
      worker: credential.id,
      name: credential.name,
      farm: credential.farm,
    });
    expect(await shown(credential.name)).toMatchObject({
      state: 'online',
      labels: ['os=linux', 'big'],
      slots: 4,
      running: 0,
      executor: 'scripted',
      platform: { hostname: 'test' },
    });
    worker.send({ type: 'heartbeat', running: 0, diskFree: 12_345, spooled: 678 });
    await until(async () => (await shown(credential.name)).diskFree === 12_345);
    expect((await shown(credential.name)).spooled).toBe(678);
    const metrics = await fetch(`${master.url}/metrics`, {
      headers: { authorization: `Bearer ${master.token}` },
    }).then((response) => response.text());
    expect(metrics).toContain(`impgem_spooled_bytes{worker="${credential.name}"} 678`);
    worker.send({ type: 'drain' });
    await until(async () => (await shown(credential.name)).state === 'draining');
    await worker.close();
    await until(async () => (await shown(credential.name)).state === 'offline');
  });

  it('is given no work while a disk of it is low, and shown why', async () => {
    const full = await newWorker();
    const worker = await greeted(full);
    const disk = { diskFree: 5, inodesFree: 7, engineDiskFree: 9, leaked: 3, evicted: 2 };
    const lowDisk = '/data has 0 MiB free';
    worker.send({ type: 'heartbeat', running: 0, ...disk, lowDisk });
    worker.send({ type: 'credit', add: 1 });
    await until(async () => (await shown(full.name)).state === 'low-disk');
    const { leaked: _, evicted: __, ...facts } = disk;
    const untold = { engineInodesFree: null, spooled: null };
    expect(await shown(full.name)).toMatchObject({ ...facts, ...untold, lowDisk });
    const metrics = await fetch(`${master.url}/metrics`, {
      headers: { authorization: `Bearer ${master.token}` },
    }).then((response) => response.text());
    expect(metrics).toContain(`impgem_leaked_objects_total{worker="${full.name}"} 3`);
    expect(metrics).toContain(`impgem_images_evicted_total{worker="${full.name}"} 2`);
    expect(metrics).toContain('impgem_workers_connected{condition="low-disk"} 1');
    // The look that gives the second request away has passed over the first.
    const request = await submit(full.name);
    const well = await newWorker();
    const other = await greeted(well);
    other.send({ type: 'credit', add: 1 });
    await submit(well.name);
    await other.next('assign');
    expect(worker.messages.filter(({ type }) => type === 'assign')).toEqual([]);
    expect(await ask('GET', `/build-requests/${request}`)).toMatchObject({ state: 'pending' });
    worker.send({ type: 'heartbeat', running: 0, diskFree: 1e10 });
    await worker.next('assign');
    expect(await shown(full.name)).toMatchObject({ state: 'online', lowDisk: null });
  });

  it('claims only the labels that its registration token allows', async () => {
    const { token } = await registrationToken({ labels: ['gpu'] });
    const credential = await register(token, 'gpu-1');
    await greeted(credential, { labels: ['gpu', 'prod', 'os=linux'] });
    expect((await shown('gpu-1')).labels).toEqual(['gpu', 'os=linux']);
  });

  it.each<[string, string | Uint8Array | object, number]>([
    ['what is not JSON', '{"type"', CLOSE.badMessage],
    ['an unknown type', { type: 'nonsense' }, CLOSE.badMessage],
    ['a wrong shape', { type: 'credit', add: 'two' }, CLOSE.badMessage],
    ['a second hello', { type: 'hello', version: 'x' }, CLOSE.badMessage],
    ['a binary frame of no kind', new Uint8Array(64), CLOSE.badMessage],
    ['a frame that is too big', 'x'.repeat(2_000_000), CLOSE.frameTooBig],
    [
      "an event of another worker's build",
      { type: 'event', build: 1, epoch: 1, seq: 1, atMs: 0, event: { kind: 'build.started' } },
      CLOSE.notYours,
    ],
    [
      "an artifact of another worker's build",
      encodeFrame({
        kind: 'artifact',
        build: 1,
        epoch: 1,
        artifact: 0,
        offset: 0,
        payload: new Uint8Array(1),
      }),
      CLOSE.notYours,
    ],
  ])('is closed for %s', async (_, frame, code) => {
    const worker = await greeted(await newWorker());
    worker.send(frame);
    expect((await worker.ended()).code).toBe(code);
  });

  it('is closed for anything before hello', async () => {
    const worker = await connect((await newWorker()).token);
    worker.send({ type: 'credit', add: 1 });
    expect(await worker.ended()).toEqual({ code: CLOSE.badMessage, reason: 'credit before hello' });
  });

  it('is cut off at once when the worker is revoked, and its build goes to others', async () => {
    const worker = await running();
    await ask('DELETE', `/workers/${worker.credential.name}`);
    expect((await worker.ended()).code).toBe(CLOSE.revoked);
    expect(await build(worker.ref.build)).toMatchObject({
      state: 'finished',
      result: 'retry',
      reason: { code: 'revoked' },
    });
    expect(await shown(worker.credential.name)).toMatchObject({ state: 'revoked' });
  });

  it('is cut off when the credential is rotated; the new one works', async () => {
    const credential = await newWorker();
    const worker = await greeted(credential);
    const { token } = await ask<WorkerCredential>('POST', `/workers/${credential.name}/rotate`);
    expect((await worker.ended()).code).toBe(CLOSE.revoked);
    await expect(connect(credential.token)).rejects.toThrow('HTTP 401');
    await greeted({ ...credential, token });
  });

  it('keeps its place against a second one while it is alive, and yields to its own process', async () => {
    const credential = await newWorker();
    const process = randomUUID();
    const first = await greeted(credential, { process });
    const second = await connect(credential.token);
    await expect(second.hello()).rejects.toThrow(`closed ${CLOSE.replaced}`);
    const third = await connect(credential.token);
    await third.hello({ process });
    expect((await first.ended()).code).toBe(CLOSE.replaced);
    expect(third.closed).toBeUndefined();
  });

  it('yields when it is dead', async () => {
    const credential = await newWorker();
    const first = await greeted(credential);
    // Nothing is read any more, so no ping is answered.
    first.socket.pause();
    await greeted(credential);
  });
});

describe('a worker in quarantine', () => {
  it('is shown with the reason, outlives its connection, and is given builds again by hand', async () => {
    const credential = await newWorker();
    await master.database.query(
      `INSERT INTO worker_standings (worker_id, strikes, until, reason)
       VALUES ($1, 3, now() + interval '1 hour', '{"code": "engine-error", "message": "no engine"}')`,
      [credential.id],
    );
    const worker = await greeted(credential);
    worker.send({ type: 'credit', add: 1 });
    const request = await submit(credential.name);
    expect(await shown(credential.name)).toMatchObject({
      state: 'quarantined',
      quarantine: { strikes: 3, reason: { message: 'no engine' } },
    });
    const metrics = await (await master.call('GET', '/metrics')).text();
    expect(metrics).toMatch(/^impgem_workers_quarantined 1$/m);
    expect(worker.messages.filter(({ type }) => type === 'assign')).toEqual([]);
    expect(await ask('POST', `/workers/${credential.name}/resume`)).toMatchObject({
      state: 'online',
      quarantine: null,
    });
    const { build } = await worker.next('assign');
    expect(await ask('GET', `/builds/${build}`)).toMatchObject({ request });
    await expect(ask('POST', '/workers/nobody/resume')).rejects.toThrow('404 not-found');
  });
});

describe('a build over the wire', () => {
  it('runs from assign to release', async () => {
    const worker = await running();
    const { ref } = worker;
    worker.event(ref, 1, { kind: 'build.started' });
    worker.event(ref, 2, { kind: 'step.started', step: 0 });
    worker.chunk(ref, 3, 'hello\n');
    const log = { bytes: 6, sha256: { stdout: 'ab'.repeat(32) } };
    worker.event(ref, 4, { kind: 'step.finished', step: 0, result: 'success', exitCode: 0, log });
    worker.event(ref, 5, { kind: 'build.finished', result: 'success' });
    await worker.next('release');
    const acks = worker.messages.filter(({ type }) => type === 'ack') as { seq: number }[];
    expect(acks.at(-1)?.seq).toBe(5);
    expect(await build(ref.build)).toMatchObject({ state: 'finished', result: 'success' });
    // What is still under way is no misuse.
    worker.event(ref, 5, { kind: 'build.finished', result: 'success' });
    worker.send({ type: 'heartbeat', running: 0, diskFree: 1 });
    await until(async () => (await shown(worker.credential.name)).diskFree === 1);
    expect(worker.closed).toBeUndefined();
  });

  it('goes on after a cut, from what is committed', async () => {
    const worker = await running();
    worker.event(worker.ref, 1, { kind: 'build.started' });
    await worker.next('ack');
    worker.socket.terminate();
    const again = await connect(worker.credential.token);
    const welcome = await again.hello({ builds: [{ ...worker.ref, seq: 3, finished: false }] });
    expect(welcome.builds).toEqual([{ ...worker.ref, verdict: 'continue', seq: 1, cancel: false }]);
    again.event(worker.ref, 3, { kind: 'build.finished', result: 'success' });
    expect(await again.next('expect')).toMatchObject({ seq: 1 });
    again.event(worker.ref, 2, { kind: 'build.finished', result: 'success' });
    await again.next('release');
  });

  it('is shown with its worker while that is silent, lost and back again', async () => {
    const worker = await running();
    const { ref, credential, request } = worker;
    worker.event(ref, 1, { kind: 'build.started' });
    await worker.next('ack');
    worker.socket.terminate();
    await until(async () => (await shown(credential.name)).state === 'suspect');
    const held = { state: 'running', worker: credential.name, result: null };
    expect(await shown(credential.name)).toMatchObject({ running: 1, connectedAt: null });
    expect(await build(ref.build)).toMatchObject(held);

    await silentFor(50, credential.id);
    expect(await shown(credential.name)).toMatchObject({ state: 'lost', running: 1 });
    expect(await build(ref.build)).toMatchObject(held);

    await silentFor(100, credential.id);
    const leases = master.app.get(Leases, { strict: false });
    await master.database.transaction((tx) => leases.lose(tx, [], 100_000, 90_000));
    const message = `worker ${credential.name} was not heard of for 90 s`;
    const reason = { code: 'worker-lost', message };
    expect(await build(ref.build)).toMatchObject({ state: 'finished', result: 'retry', reason });
    expect(await shown(credential.name)).toMatchObject({ state: 'offline', running: 0 });
    expect(await ask('GET', `/build-requests/${request}`)).toMatchObject({
      state: 'pending',
      builds: [{ id: ref.build, state: 'finished', result: 'retry' }],
    });

    const again = await connect(credential.token);
    const welcome = await again.hello({ builds: [{ ...ref, seq: 1, finished: false }] });
    expect(welcome.builds).toMatchObject([{ ...ref, verdict: 'continue' }]);
    expect(await build(ref.build)).toMatchObject({ ...held, reason: null });
    expect(await shown(credential.name)).toMatchObject({ state: 'online', running: 1 });
  });

  it('goes back to the queue when the worker refuses it', async () => {
    const worker = await running();
    const reason = { code: 'draining', message: 'about to stop' };
    worker.send({ type: 'refuse', ...worker.ref, reason });
    await until(async () => (await build(worker.ref.build)).state === 'finished');
    worker.send({ type: 'credit', add: 1 });
    expect(await worker.next('assign')).toMatchObject({ epoch: 2 });
  });

  it('passes a cancel on, and stores text that the database could not', async () => {
    const worker = await running();
    await ask('POST', `/builds/${worker.ref.build}/cancel`, { reason: 'no need' });
    expect(await worker.next('cancel')).toMatchObject({ reason: { code: 'cancelled' } });
    const reason = { code: 'cancelled', message: 'odd \0 and \uD800' };
    worker.event(worker.ref, 1, { kind: 'build.finished', result: 'cancelled', reason });
    await worker.next('release');
    expect(await build(worker.ref.build)).toMatchObject({ result: 'cancelled' });
  });

  it('takes an artifact, or says why not', async () => {
    const worker = await running();
    const about = { ...worker.ref, artifact: 0 };
    worker.send({ type: 'artifact.offer', ...about, path: '../evil', size: 3, mode: 0o644 });
    expect(await worker.next('artifact.refused')).toMatchObject({ artifact: 0 });
    expect(worker.closed).toBeUndefined();
  });

  it('survives a flood that pauses the socket', async () => {
    const worker = await running();
    const { ref } = worker;
    worker.event(ref, 1, { kind: 'build.started' });
    worker.event(ref, 2, { kind: 'step.started', step: 0 });
    // It does not get smaller by compression.
    const text = randomBytes(65_536);
    const count = 300;
    for (let n = 0; n < count; n++) worker.chunk(ref, 3 + n, text, n * text.length);
    await until(
      () => worker.messages.some((m: MasterMessage) => m.type === 'ack' && m.seq === count + 2),
      30_000,
    );
    expect(worker.closed).toBeUndefined();
    const metrics = await (await master.call('GET', '/metrics')).text();
    expect(metrics).toMatch(/^impgem_worker_pauses_total [1-9]/m);
    expect(metrics).toMatch(/^impgem_worker_sockets_paused 0/m);
  });

  it('shows in the metrics', async () => {
    const answer = await master.call('GET', '/metrics');
    const text = await answer.text();
    for (const name of [
      'impgem_queue_requests',
      'impgem_builds_finished_total',
      'impgem_workers_connected',
      'impgem_worker_closes_total',
      'impgem_worker_sockets_paused',
      'impgem_journal_pending_bytes',
      'impgem_journal_commit_seconds',
    ])
      expect(text).toContain(name);
  });
});
