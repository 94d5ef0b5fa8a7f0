import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { Database } from '../platform/index.js';
import { Events } from './events.js';
import { comparePositions } from './position.js';

let test: TestDatabase;
let db: Database;
let events: Events;

beforeAll(async () => {
  test = await testDatabase();
  db = new Database({ url: test.url });
  events = new Events(db);
});
afterAll(async () => {
  await db.close();
  await test.drop();
});

const append = (...builds: number[]) =>
  db.transaction((tx) =>
    events.append(
      tx,
      builds.map((build) => ({ kind: 'build.started', build, builder: 'b', data: { build } })),
    ),
  );

/** Reads on until `count` events are there; the statement sees what others of this server hold back. */
async function readAll(after: string, count: number, build?: number) {
  const found = [];
  let position = after;
  while (found.length < count) {
    const batch = await events.readOn({ after: position, build, limit: 3 });
    found.push(...batch.events);
    position = batch.end;
  }
  return { found, position };
}

describe('the outbox', () => {
  it('reads events in the order they were appended, from any position', async () => {
    const start = await events.head();
    await append(1, 2);
    await append(1);
    const { found } = await readAll(start, 3);
    expect(found.map((event) => event.build)).toEqual([1, 2, 1]);
    const rest = await readAll(found[0]?.id ?? '', 2);
    expect(rest.found).toEqual(found.slice(1));
    expect(found[0]).toMatchObject({ kind: 'build.started', builder: 'b', data: { build: 1 } });
    expect(found[0]).not.toHaveProperty('worker');
  });

  it('can be read for one build', async () => {
    const start = await events.head();
    await append(11, 12, 11);
    const { found } = await readAll(start, 2, 11);
    expect(found.map((event) => event.build)).toEqual([11, 11]);
  });

  it('misses nothing when a long transaction commits late', async () => {
    const start = await events.head();
    const [appended, finish] = [deferred(), deferred()];
    const long = db.transaction(async (tx) => {
      await events.append(tx, [{ kind: 'build.started', build: 21 }]);
      // The append does not wait for its answer; this one comes after it.
      await tx.query('SELECT 1');
      appended.resolve();
      await finish.promise;
    });
    await appended.promise;
    await append(22);
    const early = await events.readOn({ after: start, limit: 10 });
    expect(early).toMatchObject({ events: [], held: true });
    finish.resolve();
    await long;
    const { found } = await readAll(early.end, 2);
    expect(found.map((event) => event.build)).toEqual([21, 22]);
  });

  it('gives every event once, in order, to a reader beside many writers', async () => {
    const start = await events.head();
    let writing = true;
    const writers = Array.from({ length: 6 }, async (_, writer) => {
      for (let n = 0; n < 25; n++)
        await db.transaction(async (tx) => {
          await events.append(tx, [{ kind: 'build.started', build: 1000 + writer, data: { n } }]);
          if (n % 5 === writer % 5) await tx.query('SELECT pg_sleep(0.01)');
        });
    });
    const done = Promise.all(writers).then(() => (writing = false));
    const seen: { id: string; build?: number; data: Record<string, unknown> }[] = [];
    let position = start;
    for (let rest = true; rest;) {
      const more = writing;
      const batch = await events.readOn({ after: position, limit: 7 });
      seen.push(...batch.events);
      position = batch.end;
      rest = more || !batch.exhausted || batch.held;
    }
    await done;
    expect(seen).toHaveLength(150);
    for (let writer = 0; writer < 6; writer++)
      expect(seen.filter((e) => e.build === 1000 + writer).map((e) => e.data.n)).toEqual(
        Array.from({ length: 25 }, (_, n) => n),
      );
    for (const [i, event] of seen.slice(1).entries())
      expect(comparePositions(event.id, seen[i]?.id ?? '')).toBe(1);
  });

  it('leaves nothing of a transaction that is rolled back', async () => {
    const start = await events.head();
    await expect(
      db.transaction(async (tx) => {
        await events.append(tx, [{ kind: 'farm.applied' }]);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await append(31);
    const { found } = await readAll(start, 1);
    expect(found.map((event) => event.build)).toEqual([31]);
  });

  it('wakes listeners at commit', async () => {
    const woken = deferred();
    const stop = await db.listen('events', () => woken.resolve());
    await append(41);
    await woken.promise;
    stop();
  });

  it.each(['', '1', '1.2.3', 'x.1', '99999999999999999999.1', "1.1'"])(
    'refuses the position %j',
    async (after) => {
      await expect(events.read({ after, limit: 1 })).rejects.toMatchObject({
        code: 'invalid-request',
      });
    },
  );
});
