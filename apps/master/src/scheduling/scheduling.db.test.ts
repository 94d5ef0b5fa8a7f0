import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { FarmError } from '@impgem/kit';
import type { BuildEvent, HeldVerdict, Hello, JournalEvent } from '@impgem/protocol';
import { commitBatch } from '../journal/commit.js';
import type { Database, Transaction, Tx } from '../platform/index.js';
import { markConnected } from '../workers/worker-rows.js';
import { claim, type Assignment } from './claim.js';
import { Dispatcher, type Taker } from './dispatcher.js';
import type { LostLease } from './leases.js';
import { TestFarm, lockWaits, until } from './testing.js';

let farm: TestFarm;
beforeAll(async () => {
  farm = await TestFarm.open();
});
afterAll(async () => farm?.close());
afterEach(async () => {
  // Each test begins with an empty queue.
  await farm.db.query('DELETE FROM leases');
  await farm.db.query(`UPDATE build_requests SET state = 'finished'`);
});

const refs = (assignments: Assignment[]) =>
  assignments.map(({ build, epoch }) => ({ build, epoch }));
const held = (assignment: Assignment | undefined, seq = 0) => ({
  build: assignment?.build ?? 0,
  epoch: assignment?.epoch ?? 0,
  seq,
  finished: false,
});
const resume = (worker: { id: string; name: string }, builds: ReturnType<typeof held>[]) =>
  farm.db.transaction(async (tx) => (await farm.leases.resume(tx, worker, builds)).verdicts);

/** As a connection does it. */
async function greet(
  worker: { id: string; name: string },
  builds: ReturnType<typeof held>[],
  within?: Transaction,
): Promise<HeldVerdict[]> {
  const run = async (tx: Transaction) => {
    const hello = { executor: 'scripted', version: '0', platform: {}, slots: 1 } as Hello;
    await markConnected(tx, { ...worker, secretHash: '', allowedLabels: null }, hello, []);
    return (await farm.leases.resume(tx, worker, builds)).verdicts;
  };
  return within ? run(within) : farm.db.transaction(run);
}

const lose = (lostAfterMs: number) =>
  farm.db.transaction((tx) => farm.leases.lose(tx, [], 100_000, lostAfterMs));

const waiting = () => lockWaits(farm.db);

const cancel = (request: number) =>
  farm.db.transaction((tx) => farm.queue.cancelRequest(tx, request, 'no need', 'token:test'));

async function silence() {
  await farm.db.query(`UPDATE workers SET last_seen_at = now() - interval '1 minute'`);
  await farm.db.query(`UPDATE leases SET granted_at = now() - interval '1 minute'`);
}

describe('a claim', () => {
  it('gives each request to exactly one of many claimants at once', async () => {
    const requests = await Promise.all(Array.from({ length: 60 }, () => farm.submit()));
    const workers = await Promise.all(Array.from({ length: 6 }, (_, n) => farm.worker(`par-${n}`)));
    const got: Assignment[] = [];
    await Promise.all(
      workers.map(async (worker) => {
        for (;;) {
          const assignments = await farm.claim(worker, 3);
          got.push(...assignments);
          if (assignments.length === 0) return;
        }
      }),
    );
    // Whoever met only locked rows has left; the rest is still there.
    for (const worker of workers) got.push(...(await farm.claim(worker, 100)));
    expect(got).toHaveLength(requests.length);
    expect(new Set(got.map(({ build }) => build)).size).toBe(requests.length);
    const numbers = got.map(({ plan }) => plan.number).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 60 }, (_, n) => n + 1));
  });

  it('writes build, lease and steps, and expands the plan', async () => {
    const worker = await farm.worker('writes');
    const request = await farm.submit({ builder: 'two-steps', steps: ['a', 'b'] });
    const [assignment] = await farm.claim(worker);
    expect(assignment).toMatchObject({ epoch: 1, plan: { builder: 'two-steps', number: 1 } });
    const build = assignment?.build ?? 0;
    expect(await farm.request(request)).toMatchObject({ state: 'claimed', attempts: 0, epoch: 1 });
    expect(await farm.build(build)).toMatchObject({ state: 'running', result: null });
    expect(
      await farm.db.query(
        'SELECT index, name, kind, state FROM steps WHERE build_id = $1 ORDER BY 1',
        [build],
      ),
    ).toEqual([
      { index: 0, name: 'a', kind: 'run', state: 'pending' },
      { index: 1, name: 'b', kind: 'run', state: 'pending' },
    ]);
    expect(await farm.kinds(build)).toEqual(['build.assigned']);
  });

  it('takes the highest priority first, then the oldest, over all groups', async () => {
    const worker = await farm.worker('order', ['os=linux']);
    const old = await farm.submit({ builder: 'p1' });
    const young = await farm.submit({ builder: 'p2', labels: ['os=linux'] });
    const urgent = await farm.submit({ builder: 'p3', labels: ['os=linux'], priority: 1 });
    const order = [
      ...(await farm.claim(worker)),
      ...(await farm.claim(worker)),
      ...(await farm.claim(worker)),
    ];
    const requests = await farm.db.query<{ request_id: number }>(
      'SELECT request_id FROM builds WHERE id = ANY($1) ORDER BY id',
      [refs(order).map(({ build }) => build)],
    );
    expect(requests.map(({ request_id }) => request_id)).toEqual([urgent, old, young]);
  });

  it('touches only what the worker can serve, by labels and by name', async () => {
    const plain = await farm.worker('plain', ['os=linux']);
    const big = await farm.worker('big', ['os=linux', 'big']);
    await farm.submit({ builder: 'needs-big', labels: ['big', 'os=linux'] });
    await farm.submit({ builder: 'needs-name', workers: ['big'] });
    expect(await farm.claim(plain, 10)).toEqual([]);
    expect(await farm.claim(big, 10)).toHaveLength(2);
  });

  it('finds nothing for an older connection or a revoked worker', async () => {
    const worker = await farm.worker('fenced');
    await farm.submit();
    expect(await farm.claim({ ...worker, connectedAt: new Date(0) })).toEqual([]);
    await farm.db.query('UPDATE workers SET revoked_at = now() WHERE id = $1', [worker.id]);
    expect(await farm.claim(worker)).toEqual([]);
  });

  it('fails a request that cannot be rendered instead of standing in the way', async () => {
    const worker = await farm.worker('render');
    const bad = await farm.submit({ builder: 'bad' });
    await farm.db.query(
      `UPDATE builder_versions v SET definition = '{"steps": 7}' FROM build_requests r
       WHERE r.id = $1 AND v.builder_id = r.builder_id`,
      [bad],
    );
    const good = await farm.submit({ builder: 'good' });
    expect(await farm.claim(worker, 2)).toHaveLength(1);
    expect(await farm.request(bad)).toMatchObject({ state: 'finished', result: 'exception' });
    expect(await farm.request(good)).toMatchObject({ state: 'claimed' });
  });
});

/** How long a look takes by the clock of these tests. */
const atOnce = () => 0;

describe('an attempt that ends early', () => {
  it('goes back uncounted when it is refused for want of room', async () => {
    const worker = await farm.worker('busy');
    const request = await farm.submit();
    const [assignment] = await farm.claim(worker);
    const reason = { code: 'worker-busy', message: 'no room' };
    const refuse = (ref: { build: number; epoch: number }) =>
      farm.db.transaction((tx) => farm.leases.refuse(tx, worker.id, ref, reason));
    expect(await refuse(held(assignment))).toBe(true);
    expect(await refuse(held(assignment))).toBe(false);
    expect(await farm.request(request)).toMatchObject({ state: 'pending', attempts: 0, epoch: 1 });
    expect(await farm.build(assignment?.build ?? 0)).toMatchObject({ result: 'retry', reason });
    // Any other worker may have it at once.
    expect(await farm.claim(worker)).toEqual([]);
    const [again] = await farm.claim(await farm.worker('not-busy'));
    expect(again).toMatchObject({ epoch: 2 });
  });

  it('is tried again as its builder says, each time as a build of its own', async () => {
    const worker = await farm.worker('retries');
    const request = await farm.submit({
      builder: 'flaky',
      retry: { infrastructure: 0, failure: 1 },
    });
    const reason = { code: 'policy', message: 'not here' };
    const fail = async () => {
      const [assignment] = await farm.claim(worker);
      const { build = 0, epoch = 0 } = assignment ?? {};
      const end = { type: 'event', build, epoch, seq: 1, atMs: 0 } as const;
      const event = { kind: 'build.finished', result: 'failure' } as const;
      await farm.db.transaction((tx) =>
        commitBatch(tx, farm.events, [
          { workerId: worker.id, record: { ...end, event } as JournalEvent, checked: undefined },
        ]),
      );
      return build;
    };
    const first = await fail();
    expect(await farm.request(request)).toMatchObject({ state: 'pending', attempts: 1 });
    await farm.pass(5000);
    const second = await fail();
    expect(second).not.toBe(first);
    expect(await farm.request(request)).toMatchObject({
      state: 'finished',
      result: 'failure',
      attempts: 2,
      epoch: 2,
    });
    expect(await farm.build(first)).toMatchObject({ state: 'finished', result: 'failure' });

    const lost = await farm.submit({ builder: 'once', retry: { infrastructure: 0, failure: 1 } });
    const [assignment] = await farm.claim(worker);
    await farm.db.transaction((tx) => farm.leases.abandon(tx, worker.id, reason));
    expect(await farm.request(lost)).toMatchObject({ state: 'finished', result: 'exception' });
    expect((await farm.build(assignment?.build ?? 0)).reason).toMatchObject({
      message: 'not here; given up after 1 attempt',
    });
  });

  it('waits for a silent worker as long as its builder says', async () => {
    const worker = await farm.worker('silent');
    await farm.submit({ builder: 'patient', lostAfterMs: 3_600_000 });
    await farm.submit({ builder: 'hasty', lostAfterMs: 20_000 });
    await farm.submit({ builder: 'usual' });
    expect(await farm.claim(worker, 3)).toHaveLength(3);
    await silence();
    const lose = async (heardMs: number) => {
      const lost = await farm.db.transaction((tx) => farm.leases.lose(tx, [], heardMs, 40_000));
      return lost.map(({ builder }) => builder);
    };
    expect(await lose(10_000)).toEqual([]);
    expect(await lose(30_000)).toEqual(['hasty']);
    expect(await lose(7_200_000)).toEqual(['usual']);
  });

  it('ends as exception when three workers were lost with it', async () => {
    const request = await farm.submit({ builder: 'unlucky' });
    const dispatcher = farm.dispatcher();
    const builds: number[] = [];
    for (const name of ['lost-1', 'lost-2', 'lost-3']) {
      const [assignment] = await farm.claim(await farm.worker(name));
      builds.push(assignment?.build ?? 0);
      await silence();
      const sweep = farm.sweep(dispatcher, 1000);
      await sweep.look(10_000, atOnce);
      // A master hears for `lostAfter` before it gives anyone up.
      expect(await farm.build(builds.at(-1) ?? 0)).toMatchObject({ state: 'running' });
      await sweep.look(11_000, atOnce);
    }
    expect(await farm.request(request)).toMatchObject({
      state: 'finished',
      result: 'exception',
      attempts: 3,
    });
    const results = await Promise.all(builds.map((build) => farm.build(build)));
    expect(results.map(({ result }) => result)).toEqual(['retry', 'retry', 'exception']);
    expect(results[2]?.reason).toMatchObject({ code: 'worker-lost' });
    expect(await farm.db.query('SELECT 1 FROM leases')).toEqual([]);
  });

  it('is not given up while its worker is connected, heard of, or the database was away', async () => {
    const worker = await farm.worker('alive');
    await farm.submit();
    const [assignment] = await farm.claim(worker);
    const dispatcher = farm.dispatcher();
    const state = async () => (await farm.build(assignment?.build ?? 0)).state;
    const sweep = farm.sweep(dispatcher, 1000);
    await sweep.look(10_000, atOnce);
    await sweep.look(11_000, atOnce);
    expect(await state()).toBe('running');
    await silence();
    const taker = { claimant: worker, credit: () => 0, held: () => [] } as unknown as Taker;
    dispatcher.join(taker);
    await sweep.look(11_100, atOnce);
    expect(await state()).toBe('running');
    dispatcher.leave(taker);
    const back = await farm.database.cutOff();
    await sweep.look(11_200, atOnce);
    await back();
    await sweep.look(11_300, atOnce);
    expect(await state()).toBe('running');
    // The database hung meanwhile, so that no master could write down whom it heard.
    await sweep.look(12_300, () => 30_000);
    expect(await state()).toBe('running');
    await sweep.look(12_400, atOnce);
    expect(await state()).toBe('running');
    await sweep.look(13_400, atOnce);
    expect(await state()).toBe('finished');
  });

  it('is retried when its worker is revoked', async () => {
    const worker = await farm.worker('revoked');
    const request = await farm.submit();
    await farm.claim(worker);
    const reason = { code: 'revoked', message: 'revoked' };
    const events = await farm.db.transaction((tx) => farm.leases.abandon(tx, worker.id, reason));
    expect(events.map(({ kind }) => kind)).toEqual(['build.finished']);
    expect(await farm.request(request)).toMatchObject({ state: 'pending', attempts: 1 });
  });
});

describe('a worker that comes back', () => {
  it('goes on with what it holds, from what is committed', async () => {
    const worker = await farm.worker('back');
    await farm.submit();
    const [assignment] = await farm.claim(worker);
    await farm.db.query('UPDATE leases SET seq = 7');
    const { build, epoch } = held(assignment);
    expect(await resume(worker, [held(assignment, 9)])).toEqual([
      { build, epoch, verdict: 'continue', seq: 7, cancel: false },
    ]);
  });

  it('loses what it does not name, and what its disk lost', async () => {
    const worker = await farm.worker('amnesia');
    const forgotten = await farm.submit();
    const [first] = await farm.claim(worker);
    const wiped = await farm.submit();
    const [second] = await farm.claim(worker);
    await farm.db.query('UPDATE leases SET seq = 7 WHERE build_id = $1', [second?.build]);
    expect(await resume(worker, [held(second, 3)])).toMatchObject([{ verdict: 'stop' }]);
    expect(await farm.request(forgotten)).toMatchObject({ state: 'pending', attempts: 1 });
    expect(await farm.request(wiped)).toMatchObject({ state: 'pending', attempts: 1 });
    expect(await farm.build(first?.build ?? 0)).toMatchObject({ result: 'retry' });
  });

  it("stops another worker's build and one of a stale epoch, and releases a finished one", async () => {
    const worker = await farm.worker('one');
    const other = await farm.worker('other');
    await farm.submit();
    const [theirs] = await farm.claim(other);
    await farm.submit();
    const [mine] = await farm.claim(worker);
    await farm.db.query('DELETE FROM leases WHERE build_id = $1', [mine?.build]);
    await farm.db.query(`UPDATE builds SET state = 'finished' WHERE id = $1`, [mine?.build]);
    const stale = { ...held(mine), epoch: 9 };
    const verdicts = await resume(worker, [
      held(theirs),
      { ...held(mine), finished: true },
      stale,
      held(mine),
    ]);
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(['stop', 'release', 'stop', 'stop']);
  });

  it('takes a lost build back with its epoch until another has claimed it', async () => {
    const worker = await farm.worker('late');
    const request = await farm.submit();
    const [assignment] = await farm.claim(worker);
    const build = assignment?.build ?? 0;
    await farm.db.query('UPDATE leases SET seq = 5 WHERE build_id = $1', [build]);
    await farm.db.query(
      `UPDATE steps SET state = 'running', started_at = now() WHERE build_id = $1`,
      [build],
    );
    const lose = () => farm.db.transaction((tx) => farm.leases.lose(tx, [], 0, -60_000));
    expect(await lose()).toMatchObject([{ build, worker: 'late' }]);
    expect(await farm.request(request)).toMatchObject({ state: 'pending', attempts: 1 });
    expect(await resume(worker, [held(assignment, 6)])).toMatchObject([
      { verdict: 'continue', seq: 5 },
    ]);
    expect(await farm.request(request)).toMatchObject({ state: 'claimed', attempts: 0, epoch: 1 });
    expect(await farm.build(build)).toMatchObject({ state: 'running', result: null });
    expect(
      await farm.row('SELECT state, log_finished FROM steps WHERE build_id = $1', build),
    ).toEqual({
      state: 'running',
      log_finished: false,
    });
    await lose();
    const [again] = await farm.claim(await farm.worker('other-2'));
    expect(again).toMatchObject({ epoch: 2 });
    expect(await resume(worker, [held(assignment, 6)])).toMatchObject([{ verdict: 'stop' }]);
    expect(await farm.build(build)).toMatchObject({ state: 'finished', result: 'retry' });
    expect(await farm.build(again?.build ?? 0)).toMatchObject({ state: 'running' });
  });

  it('takes back a build that is being given up when its worker greets', async () => {
    const worker = await farm.worker('just-lost');
    const request = await farm.submit();
    const [assignment] = await farm.claim(worker);
    let greeting: ReturnType<typeof greet> | undefined;
    await farm.db.transaction(async (tx) => {
      await farm.leases.lose(tx, [], 0, -60_000);
      greeting = greet(worker, [{ ...held(assignment), finished: true }]);
      await until(waiting);
    });
    expect(await greeting).toMatchObject([{ verdict: 'continue' }]);
    expect(await farm.request(request)).toMatchObject({ state: 'claimed', attempts: 0, epoch: 1 });
  });

  it('waits for its records under way, which may be all of a build', async () => {
    const worker = await farm.worker('fast');
    await farm.submit();
    const [assignment] = await farm.claim(worker);
    const [ref] = refs(assignment ? [assignment] : []);
    const write = (tx: Transaction, seq: number, event: BuildEvent) => {
      const record = { type: 'event', ...ref, seq, atMs: 0, event } as JournalEvent;
      return commitBatch(tx, farm.events, [{ workerId: worker.id, record, checked: undefined }]);
    };
    let greeting: ReturnType<typeof greet> | undefined;
    await farm.db.transaction(async (tx) => {
      await write(tx, 1, { kind: 'build.started' });
      greeting = greet(worker, [{ ...held(assignment, 2), finished: true }]);
      await until(waiting);
      await write(tx, 2, { kind: 'build.finished', result: 'success' });
    });
    expect(await greeting).toMatchObject([{ verdict: 'release' }]);
  });

  it('has its leases locked in the order in which all lock them, lost ones too', async () => {
    const worker = await farm.worker('two');
    await farm.submit();
    await farm.submit({ lostAfterMs: 30_000 });
    const [live, lost] = await farm.claim(worker, 2);
    await silence();
    expect(await lose(90_000)).toMatchObject([{ build: lost?.build }]);
    let greeting: ReturnType<typeof greet> | undefined;
    await farm.db.transaction(async (tx) => {
      const lock = 'SELECT FROM leases WHERE build_id = $1 FOR UPDATE';
      await tx.query(lock, [live?.build]);
      greeting = greet(worker, [held(live), held(lost)]);
      await until(waiting);
      await tx.query(lock, [lost?.build]);
    });
    expect(await greeting).toMatchObject([{ verdict: 'continue' }, { verdict: 'continue' }]);
  });

  it('does not give up what is of a worker that greets, nor of one that has just done so', async () => {
    const worker = await farm.worker('just-back');
    await farm.submit();
    const [assignment] = await farm.claim(worker);
    await silence();
    await farm.db.transaction(async (tx) => {
      await greet(worker, [held(assignment)], tx);
      expect(await lose(40_000)).toEqual([]);
    });
    await silence();
    // What is to be given up is read from rows of before the greeting, and locked after it.
    await farm.db.query('CREATE SCHEMA gated');
    await farm.db.query(
      `CREATE VIEW gated.builders AS
       SELECT * FROM public.builders WHERE (SELECT true FROM pg_advisory_xact_lock_shared(1))`,
    );
    let losing: Promise<LostLease[]> | undefined;
    await farm.db.transaction(async (tx) => {
      await tx.query('SELECT pg_advisory_xact_lock(1)');
      losing = farm.db.transaction(async (loser) => {
        await loser.query('SET LOCAL search_path = gated, public');
        return farm.leases.lose(loser, [], 40_000, 40_000);
      });
      await until(waiting);
      expect(await greet(worker, [held(assignment)])).toMatchObject([{ verdict: 'continue' }]);
    });
    expect(await losing).toEqual([]);
  });
});

describe('a cancel', () => {
  it('ends a waiting request at once', async () => {
    const request = await farm.submit();
    expect(await cancel(request)).toBe('cancelled');
    expect(await cancel(request)).toBe('already-finished');
    expect(await cancel(987_654)).toBe('not-found');
    expect(await farm.request(request)).toMatchObject({ state: 'finished', result: 'cancelled' });
    expect(await farm.claim(await farm.worker('none'), 9)).toEqual([]);
  });

  it('is ordered of the worker that runs it, told again when it comes back, and forced after a deadline', async () => {
    const worker = await farm.worker('deaf');
    const request = await farm.submit();
    const [assignment] = await farm.claim(worker);
    const build = assignment?.build ?? 0;
    expect(await cancel(request)).toBe('cancelling');
    expect(await cancel(request)).toBe('cancelling');
    expect(await farm.build(build)).toMatchObject({ state: 'cancelling' });
    expect(await farm.leases.cancelOrders(farm.db, [worker.id])).toEqual([
      { worker: worker.id, build, epoch: 1, reason: { code: 'cancelled', message: 'no need' } },
    ]);
    expect(await resume(worker, [held(assignment)])).toMatchObject([
      { verdict: 'continue', cancel: true },
    ]);
    const force = () => farm.db.transaction((tx) => farm.leases.forceCancelled(tx));
    expect(await force()).toEqual([]);
    await farm.db.query(
      `UPDATE leases SET cancel = jsonb_set(cancel, '{deadline}', to_jsonb(now() - interval '1 s'))`,
    );
    expect(await force()).toMatchObject([{ build }]);
    expect(await farm.build(build)).toMatchObject({ state: 'finished', result: 'cancelled' });
    expect(await farm.request(request)).toMatchObject({ state: 'finished', result: 'cancelled' });
    expect(await farm.leases.ended(farm.db, [{ build, epoch: 1 }])).toEqual(new Set([build]));
    expect(await farm.kinds(build)).toEqual([
      'build.assigned',
      'build.cancelling',
      'build.finished',
      'request.finished',
    ]);
  });

  it('waits for a claim under way, and then stands in the way of nobody who ends its build', async () => {
    const request = await farm.submit();
    await farm.claim(await farm.worker('before'));
    await lose(-60_000);
    const worker = await farm.worker('after');
    let cancelled: ReturnType<typeof cancel> | undefined;
    let ending: Promise<void> | undefined;
    let over = false;
    await farm.db.transaction(async (tx) => {
      await claim(tx, farm.events, worker, 1);
      cancelled = cancel(request).finally(() => (over = true));
      await until(async () => (await waiting()) === 1);
      ending = farm.db.transaction(async (ender) => {
        await ender.query('SELECT FROM leases WHERE request_id = $1 FOR UPDATE', [request]);
        // whichever of the two comes first when the claim has ended
        await until(async () => over || (await waiting()) > 0);
        await ender.query('UPDATE build_requests SET priority = 0 WHERE id = $1', [request]);
      });
      await until(async () => (await waiting()) === 2);
    });
    await ending;
    expect(await cancelled).toBe('cancelling');
  });

  it('wins over the retry of a lost worker', async () => {
    const request = await farm.submit();
    const [assignment] = await farm.claim(await farm.worker('gone'));
    await cancel(request);
    await farm.db.transaction((tx) => farm.leases.lose(tx, [], 0, -60_000));
    expect(await farm.build(assignment?.build ?? 0)).toMatchObject({ result: 'cancelled' });
    expect(await farm.request(request)).toMatchObject({ state: 'finished', result: 'cancelled' });
  });
});

describe('the dispatcher', () => {
  it('hands out on submit and on credit, spreads, and gives back what a closed session cannot take', async () => {
    const dispatcher = farm.dispatcher();
    await dispatcher.onApplicationBootstrap();
    const takers = await Promise.all(['d-1', 'd-2'].map((name) => fakeTaker(name)));
    try {
      for (const taker of takers) dispatcher.join(taker);
      await farm.submit();
      await farm.submit();
      await until(() => takers.every(({ got }) => got.length === 1));
      await farm.submit();
      const [first, second] = takers as [FakeTaker, FakeTaker];
      first.slots = 1;
      dispatcher.wake();
      await until(() => first.got.length === 2);
      second.open = false;
      second.slots = 1;
      const request = await farm.submit();
      await until(async () => (await farm.request(request)).epoch > 0);
      await until(async () => (await farm.request(request)).state === 'pending');
      expect(await farm.request(request)).toMatchObject({ attempts: 0 });
      const cancelled = first.got[0]?.build ?? 0;
      await farm.db.transaction((tx) => farm.leases.cancel(tx, cancelled, undefined, 'token:test'));
      await until(() => first.cancelled.includes(cancelled));
    } finally {
      await dispatcher.beforeApplicationShutdown();
    }
  });

  it('remembers what nobody could take, for a worker that comes or gets room later', async () => {
    const dispatcher = farm.dispatcher();
    await dispatcher.onApplicationBootstrap();
    const [busy, big] = await Promise.all([fakeTaker('d-3'), fakeTaker('d-4')]);
    Object.assign(big.claimant, { labels: ['big'] });
    busy.slots = 0;
    try {
      dispatcher.join(busy);
      await farm.submit({ labels: ['big'] });
      await farm.submit();
      await farm.submit();
      busy.slots = 1;
      dispatcher.wake();
      await until(() => busy.got.length === 1);
      dispatcher.join(big);
      await until(() => big.got.length === 1);
      busy.slots = 1;
      dispatcher.wake();
      await until(() => busy.got.length === 2);
    } finally {
      await dispatcher.beforeApplicationShutdown();
    }
  });

  it('gives back what it claimed without learning that it did', async () => {
    let losesAnswer = true;
    const forgetful = {
      query: farm.db.query.bind(farm.db),
      listen: farm.db.listen.bind(farm.db),
      async transaction<T>(run: (tx: Tx) => Promise<T>): Promise<T> {
        const result = await farm.db.transaction(run);
        const { assignments = [] } = result as { assignments?: unknown[] };
        if (losesAnswer && assignments.length > 0) {
          losesAnswer = false;
          throw new FarmError('database-unavailable', 'the connection broke during COMMIT');
        }
        return result;
      },
    } as unknown as Database;
    const dispatcher = new Dispatcher(forgetful, farm.events, farm.leases);
    await dispatcher.onApplicationBootstrap();
    const taker = await fakeTaker('unlearned');
    taker.slots = 2;
    try {
      dispatcher.join(taker);
      const request = await farm.submit();
      await until(async () => (await farm.request(request)).epoch === 1);
      dispatcher.wake();
      await until(() => taker.got.length === 1);
      expect(taker.got).toMatchObject([{ epoch: 2 }]);
      expect(await farm.request(request)).toMatchObject({
        state: 'claimed',
        attempts: 0,
        epoch: 2,
      });
      // A newer connection of the worker has said itself what it holds.
      const older = { ...taker.claimant, connectedAt: new Date(0) };
      expect(await farm.db.transaction((tx) => farm.leases.withdraw(tx, older, []))).toBe(0);
    } finally {
      await dispatcher.beforeApplicationShutdown();
    }
  });

  it('passes on what was asked before the worker stood here', async () => {
    const dispatcher = farm.dispatcher();
    const taker = await fakeTaker('early');
    await farm.submit();
    const [assignment] = await farm.claim(taker.claimant);
    const build = assignment?.build ?? 0;
    await farm.db.transaction((tx) => farm.leases.cancel(tx, build, undefined, 'token:test'));
    if (assignment) taker.got.push(assignment);
    dispatcher.join(taker);
    await until(() => taker.cancelled.includes(build));
  });

  interface FakeTaker extends Taker {
    slots: number;
    open: boolean;
    got: Assignment[];
    cancelled: number[];
  }
  async function fakeTaker(name: string): Promise<FakeTaker> {
    const taker: FakeTaker = {
      claimant: await farm.worker(name),
      slots: 1,
      open: true,
      got: [],
      cancelled: [],
      credit: () => taker.slots,
      assign(assignments) {
        taker.slots -= assignments.length;
        if (taker.open) taker.got.push(...assignments);
        return taker.open;
      },
      held: () => refs(taker.got),
      cancel: (build) => taker.cancelled.push(build),
      taken: () => undefined,
    };
    return taker;
  }
});
