import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { Database } from './database.js';

let test: TestDatabase;
let database: Database;

beforeAll(async () => {
  test = await testDatabase();
  database = new Database({ url: test.url });
});
afterAll(async () => {
  await database.close();
  await test.drop();
});

describe('Database', () => {
  it('gives int8 as numbers, times as dates, jsonb parsed and bytea as buffers', async () => {
    const [row] = await database.query(
      `SELECT 9007199254740991::int8 big, now() at, '{"a":[1]}'::jsonb json, '\\x00ff'::bytea bytes`,
    );
    expect(row).toMatchObject({ big: 9_007_199_254_740_991, json: { a: [1] } });
    expect(row?.at).toBeInstanceOf(Date);
    expect(row?.bytes).toEqual(Buffer.from([0, 255]));
  });

  it('rolls a transaction back when it throws, and passes the error on', async () => {
    await database.query('CREATE TABLE scratch (n int)');
    const bad = database.transaction(async (tx) => {
      await tx.query('INSERT INTO scratch VALUES (1)');
      throw new Error('no');
    });
    await expect(bad).rejects.toThrow('no');
    expect(await database.query('SELECT * FROM scratch')).toEqual([]);
    await database.transaction((tx) => tx.query('INSERT INTO scratch VALUES (2)'));
    expect(await database.query('SELECT n FROM scratch')).toEqual([{ n: 2 }]);
  });

  it('runs what is sent in the order of the calls, between what is waited for', async () => {
    await database.query('CREATE TABLE sent (n int)');
    const seen = await database.transaction(async (tx) => {
      tx.send('INSERT INTO sent VALUES (1)');
      tx.send('INSERT INTO sent SELECT n + $1::int FROM sent', [1]);
      const rows = await tx.query('SELECT n FROM sent ORDER BY n');
      tx.send('INSERT INTO sent VALUES (3)');
      return rows;
    });
    expect(seen).toEqual([{ n: 1 }, { n: 2 }]);
    expect(await database.query('SELECT count(*) AS n FROM sent')).toEqual([{ n: 3 }]);
  });

  it('rolls back for a failure that nobody waited for, and passes it on', async () => {
    await database.query('CREATE TABLE unwaited (n int)');
    const atTheEnd = database.transaction(async (tx) => {
      tx.send('INSERT INTO unwaited VALUES (1)');
      tx.send('SELECT 1/0');
      tx.send('INSERT INTO unwaited VALUES (2)');
    });
    await expect(atTheEnd).rejects.toMatchObject({ code: '22012' });
    const before = database.transaction(async (tx) => {
      tx.send('INSERT INTO unwaited VALUES ($1)', ['one']);
      // Its own error only says that the transaction has failed.
      return tx.query('SELECT n FROM unwaited');
    });
    await expect(before).rejects.toMatchObject({ code: '22P02' });
    expect(await database.query('SELECT n FROM unwaited')).toEqual([]);
    expect(database.status()).toBe('up');
  });

  it('leaves the errors of a statement as they are', async () => {
    await expect(database.query('SELECT 1/0')).rejects.toMatchObject({ code: '22012' });
    expect(database.status()).toBe('up');
  });

  it('delivers notifications, and calls every handler after a lost connection is back', async () => {
    let next = deferred();
    const stop = await database.listen('queue', () => next.resolve());
    await database.query('NOTIFY queue');
    await next.promise;
    next = deferred();
    const restore = await test.cutOff();
    await expect(database.query('SELECT 1')).rejects.toThrow();
    await restore();
    await next.promise;
    next = deferred();
    await database.query('NOTIFY queue');
    await next.promise;
    stop();
  });

  it('hears all channels on one connection, however they are asked for', async () => {
    const own = new Database({ url: test.url });
    const heard = ['a', 'b', 'c'].map(() => deferred());
    await Promise.all(heard.map(({ resolve }, n) => own.listen(`channel-${n}`, () => resolve())));
    const listeners = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`;
    const before = await database.query(listeners);
    for (const n of heard.keys()) await database.query(`NOTIFY "channel-${n}"`);
    await Promise.all(heard.map(({ promise }) => promise));
    await own.close();
    const after = await database.query(listeners);
    expect(before.length - after.length).toBe(1);
  });

  it('says database-unavailable when nothing listens there', async () => {
    const nowhere = new Database({ url: 'postgres://impgem@127.0.0.1:1/impgem' });
    await expect(nowhere.query('SELECT 1')).rejects.toMatchObject({ code: 'database-unavailable' });
    await expect(nowhere.transaction(async () => 1)).rejects.toMatchObject({
      code: 'database-unavailable',
    });
    expect(nowhere.status()).toBe('down');
    await nowhere.close();
  });
});
