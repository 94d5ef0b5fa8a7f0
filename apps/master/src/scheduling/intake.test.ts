import { describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import type { Database } from '../platform/index.js';
import { Intake } from './intake.js';
import type { Queue, Submission } from './queue.js';

const wish = (reason: string) => ({ reason }) as Submission;

/** Writes down which reasons came together; refuses a batch that holds `bad`. */
function intake() {
  const batches: string[][] = [];
  const gate = deferred<void>();
  const submit: Queue['submit'] = async (_db, submissions) => {
    const reasons = submissions.map(({ reason }) => reason ?? '');
    batches.push(reasons);
    await gate.promise;
    if (reasons.includes('bad')) throw new Error('cannot be stored');
    return submissions.map((_one, n) => ({ id: n, submittedAt: new Date(0) }));
  };
  return { batches, gate, intake: new Intake({} as Database, { submit } as Queue) };
}

describe('the intake', () => {
  it('has those that come while one commits share the next commit', async () => {
    const { batches, gate, intake: it } = intake();
    const all = ['a', 'b', 'c', 'd'].map((reason) => it.submit(wish(reason)));
    gate.resolve();
    const ids = (await Promise.all(all)).map((one) => one?.id);
    expect(batches).toEqual([['a'], ['b', 'c', 'd']]);
    expect(ids).toEqual([0, 0, 1, 2]);
  });

  it('refuses the one that cannot be stored, and takes the others of its commit', async () => {
    const { batches, gate, intake: it } = intake();
    const all = ['a', 'b', 'bad', 'c'].map((reason) => it.submit(wish(reason)));
    gate.resolve();
    const settled = await Promise.allSettled(all);
    expect(settled.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(batches.slice(1)).toEqual([['b', 'bad', 'c'], ['b'], ['bad'], ['c']]);
  });
});
