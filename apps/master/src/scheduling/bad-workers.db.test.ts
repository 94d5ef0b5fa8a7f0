import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  HOLD_BACK_MS,
  PAUSES_MS,
  QUARANTINE_STRIKES,
  REFUSALS_MOST,
  type BuildEvent,
  type JournalEvent,
} from '@impgem/protocol';
import { commitBatch } from '../journal/commit.js';
import type { Assignment, Claimant } from './claim.js';
import type { Taker } from './dispatcher.js';
import { BUILD_TIMEOUT_MS, TestFarm, lockWaits, until } from './testing.js';

let farm: TestFarm;
beforeAll(async () => {
  farm = await TestFarm.open();
});
afterAll(async () => farm?.close());
afterEach(async () => {
  await farm.db.query('DELETE FROM leases');
  await farm.db.query(`UPDATE build_requests SET state = 'finished'`);
});

const LONG = 3_600_000;
const DRAINING = { code: 'draining', message: 'about to stop' };
const ENGINE = { code: 'engine-unavailable', message: 'no engine' };

const refuse = (worker: Claimant, { build, epoch }: Assignment, reason = DRAINING) =>
  farm.db.transaction((tx) => farm.leases.refuse(tx, worker.id, { build, epoch }, reason));

type End = Omit<Extract<BuildEvent, { kind: 'build.finished' }>, 'kind'>;

async function end(worker: Claimant, { build, epoch }: Assignment, how: End): Promise<void> {
  const event = { kind: 'build.finished', ...how } as const;
  const record = { type: 'event', build, epoch, seq: 1, atMs: 0, event } as JournalEvent;
  await farm.db.transaction((tx) =>
    commitBatch(tx, farm.events, [{ workerId: worker.id, record, checked: undefined }]),
  );
}

/** A new request, by this worker; what it did not get is left in the queue. */
async function give(worker: Claimant, builder = 'any'): Promise<Assignment | undefined> {
  await farm.submit({ builder });
  return (await farm.claim(worker))[0];
}

/** Builds that it spoils, one after the other, as soon as it is given one again. */
async function spoil(worker: Claimant, times: number, how: End): Promise<void> {
  for (let n = 0; n < times; n++) {
    const got = await give(worker, `spoilt-${n}`);
    if (!got) throw new Error(`${worker.name} is given nothing after ${n} spoilt builds`);
    await end(worker, got, how);
    if (n + 1 < times) await farm.pass(LONG);
    await farm.db.query(`UPDATE build_requests SET state = 'finished' WHERE state = 'pending'`);
  }
}

const strikesOf = async ({ id }: Claimant) => {
  const rows = await farm.db.query<{ strikes: number }>(
    'SELECT strikes FROM worker_standings WHERE worker_id = $1',
    [id],
  );
  return rows[0]?.strikes ?? 0;
};

const eventsOf = ({ name }: Claimant) =>
  farm.db.query<{ kind: string; data: object }>(
    'SELECT kind, data FROM events WHERE worker = $1 AND build_id IS NULL ORDER BY xid, id',
    [name],
  );

describe('a request that its worker gives back', () => {
  it('goes to another worker at once, and to the same one after a while that grows', async () => {
    const worker = await farm.worker('gives-back');
    const request = await farm.submit();
    for (const [n, ms] of HOLD_BACK_MS.entries()) {
      const [got] = await farm.claim(worker);
      expect(got).toMatchObject({ epoch: n + 1 });
      await refuse(worker, got as Assignment);
      await farm.db.query('DELETE FROM worker_standings');
      await farm.pass(ms - 1000);
      expect(await farm.claim(worker)).toEqual([]);
      await farm.pass(1000);
    }
    const [got] = await farm.claim(await farm.worker('takes-it'));
    expect(got).toMatchObject({ epoch: HOLD_BACK_MS.length + 1 });
    expect(await farm.request(request)).toMatchObject({ state: 'claimed', attempts: 0 });
  });

  it('ends after so many refusals, whoever they are of', async () => {
    const workers = [await farm.worker('refuses-1'), await farm.worker('refuses-2')];
    const request = await farm.submit();
    let handOuts = 0;
    for (; (await farm.request(request)).state === 'pending'; handOuts++) {
      const worker = workers[handOuts % 2] as Claimant;
      const [got] = await farm.claim(worker);
      if (!got) throw new Error(`${worker.name} is given nothing after ${handOuts} refusals`);
      await refuse(worker, got);
      await farm.pass(LONG);
    }
    expect(handOuts).toBe(REFUSALS_MOST);
    expect(await farm.request(request)).toMatchObject({ state: 'finished', result: 'exception' });
    const [last] = await farm.db.query<{ reason: object }>(
      'SELECT reason FROM builds WHERE request_id = $1 ORDER BY epoch DESC LIMIT 1',
      [request],
    );
    expect(last?.reason).toEqual({
      code: 'draining',
      message: `about to stop; given up after ${REFUSALS_MOST} refusals`,
    });
  });

  it('waits for the only worker that can serve it, while others that cannot go on', async () => {
    const dispatcher = farm.dispatcher();
    await dispatcher.onApplicationBootstrap();
    const taker = async (name: string, labels: string[]) => {
      const claimant = await farm.worker(name, labels);
      const got: Assignment[] = [];
      const one: Taker & { got: Assignment[] } = {
        claimant,
        got,
        credit: () => 4 - got.length,
        assign: (assignments) => got.push(...assignments) > 0,
        held: () => got.map(({ build, epoch }) => ({ build, epoch })),
        cancel: () => undefined,
        taken: () => undefined,
      };
      dispatcher.join(one);
      return one;
    };
    try {
      const only = await taker('only', ['gpu']);
      const request = await farm.submit({ builder: 'gpu', labels: ['gpu'] });
      await until(() => only.got.length === 1);
      await refuse(only.claimant, only.got[0] as Assignment);
      const other = await taker('other', []);
      const plain = await farm.submit({ builder: 'plain' });
      await until(() => other.got.length + only.got.length === 2);
      expect((await farm.request(plain)).state).toBe('claimed');
      expect((await farm.request(request)).state).toBe('pending');
      await farm.pass(HOLD_BACK_MS[0] ?? 0);
      // As the slow poll does.
      await farm.db.query('NOTIFY queue');
      await until(async () => (await farm.request(request)).state === 'claimed');
      expect((await farm.request(request)).epoch).toBe(2);
    } finally {
      await dispatcher.beforeApplicationShutdown();
    }
  });
});

describe('a worker that spoils its builds in seconds', () => {
  it('is given nothing for longer and longer, then one build at a time until one ends well', async () => {
    const worker = await farm.worker('spoils');
    await spoil(worker, QUARANTINE_STRIKES, { result: 'exception', reason: ENGINE });
    expect(await eventsOf(worker)).toMatchObject([
      { kind: 'worker.quarantined', data: { strikes: QUARANTINE_STRIKES, reason: ENGINE } },
    ]);
    await Promise.all([farm.submit({ builder: 'a' }), farm.submit({ builder: 'b' })]);
    expect(await farm.claim(worker, 2)).toEqual([]);
    await farm.pass((PAUSES_MS[QUARANTINE_STRIKES - 1] ?? 0) - 1000);
    expect(await farm.claim(worker, 2)).toEqual([]);
    await farm.pass(1000);
    const [trial, ...more] = await farm.claim(worker, 2);
    expect(more).toEqual([]);
    expect(await farm.claim(worker, 2)).toEqual([]);
    await end(worker, trial as Assignment, { result: 'exception', reason: ENGINE });
    // It doubles.
    await farm.pass(PAUSES_MS[QUARANTINE_STRIKES - 1] ?? 0);
    expect(await farm.claim(worker, 2)).toEqual([]);
    await farm.pass(LONG);
    const [good] = await farm.claim(worker, 2);
    await end(worker, good as Assignment, { result: 'success' });
    expect(await strikesOf(worker)).toBe(0);
    expect((await eventsOf(worker)).at(-1)).toMatchObject({ kind: 'worker.cleared' });
  });

  it('is given nothing by a claim that waited for the greeting in which it had lost one', async () => {
    const worker = await farm.worker('greets');
    await spoil(worker, QUARANTINE_STRIKES - 1, { result: 'exception', reason: ENGINE });
    await farm.pass(LONG);
    await give(worker);
    await farm.submit({ builder: 'next' });
    const claims: Promise<Assignment[]>[] = [];
    await farm.db.transaction(async (tx) => {
      await farm.leases.resume(tx, worker, []);
      claims.push(farm.claim(worker));
      await until(async () => (await lockWaits(farm.db)) > 0);
    });
    expect(await Promise.all(claims)).toEqual([[]]);
    expect(await strikesOf(worker)).toBe(QUARANTINE_STRIKES);
  });

  it.each<[string, End]>([
    ['the code fails', { result: 'failure', reason: { code: 'exit-code', message: 'exit 1' } }],
    [
      'an image is missing',
      { result: 'exception', reason: { code: 'image-unavailable', message: 'no' } },
    ],
    [
      'the source is missing',
      { result: 'exception', reason: { code: 'source-unavailable', message: 'no' } },
    ],
    ['its policy forbids it', { result: 'exception', reason: { code: 'policy', message: 'no' } }],
  ])('is not one where %s', async (name, how) => {
    const worker = await farm.worker(`fine-${name.replaceAll(' ', '-')}`);
    await spoil(worker, QUARANTINE_STRIKES + 1, how);
    expect(await strikesOf(worker)).toBe(0);
  });

  it('is not one whose builds ran for a while, or that lost many at once', async () => {
    const slow = await farm.worker('slow');
    const got = await give(slow);
    await farm.pass(60_000);
    await end(slow, got as Assignment, { result: 'exception', reason: ENGINE });
    expect(await strikesOf(slow)).toBe(0);
    const dark = await farm.worker('dark');
    for (let n = 0; n < 5; n++) await farm.submit({ builder: `dark-${n}` });
    expect(await farm.claim(dark, 5)).toHaveLength(5);
    await farm.db.transaction((tx) => farm.leases.resume(tx, dark, []));
    expect(await strikesOf(dark)).toBe(1);
  });
});

describe('a build that its worker keeps beyond its timeout', () => {
  const GRACE_MS = 10_000;
  const LOST_AFTER_MS = 90_000;
  const look = (heardMs: number) =>
    farm.db.transaction((tx) => farm.leases.endOverdue(tx, heardMs, GRACE_MS, LOST_AFTER_MS));

  it('is ended after the grace, with a reason, and its worker told; not by a master that has just begun to hear', async () => {
    const worker = await farm.worker('keeps');
    const request = await farm.submit({ retry: { infrastructure: 0, failure: 0 } });
    const [got] = await farm.claim(worker);
    const { build = 0 } = got ?? {};
    await farm.pass(BUILD_TIMEOUT_MS + GRACE_MS + LOST_AFTER_MS - 2000);
    expect(await look(LONG)).toEqual([]);
    await farm.pass(2000);
    expect(await look(GRACE_MS + LOST_AFTER_MS - 1)).toEqual([]);
    expect(await look(GRACE_MS + LOST_AFTER_MS)).toMatchObject([{ build, worker: 'keeps' }]);
    expect(await farm.build(build)).toMatchObject({
      state: 'finished',
      result: 'exception',
      reason: { code: 'build-overdue' },
    });
    expect(await farm.request(request)).toMatchObject({ state: 'finished', result: 'exception' });
    expect(await farm.leases.ended(farm.db, [got as Assignment])).toEqual(new Set([build]));
    expect(await strikesOf(worker)).toBe(1);
  });

  it('has no more time when its worker was lost and took it back', async () => {
    const worker = await farm.worker('comes-and-goes');
    const request = await farm.submit({ lostAfterMs: 20_000 });
    const [got] = await farm.claim(worker);
    const held = { ...(got as Assignment), seq: 0, finished: false };
    await farm.pass(BUILD_TIMEOUT_MS);
    await farm.db.query(`UPDATE workers SET last_seen_at = now() - interval '1 hour'`);
    await farm.db.query(`UPDATE leases SET granted_at = now() - interval '1 hour'`);
    await farm.db.transaction((tx) => farm.leases.lose(tx, [], LONG, LOST_AFTER_MS));
    expect(await farm.request(request)).toMatchObject({ state: 'pending' });
    await farm.db.transaction((tx) => farm.leases.resume(tx, worker, [held]));
    expect(await farm.request(request)).toMatchObject({ state: 'claimed' });
    await farm.pass(30_000);
    expect(await look(LONG)).toHaveLength(1);
  });
});
