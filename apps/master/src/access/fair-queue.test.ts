import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { deferred } from '@impgem/kit';
import { FairQueue } from './fair-queue.js';

describe('FairQueue', () => {
  it('serves those who wait one after the other, by caller', async () => {
    const queue = new FairQueue(1, 1);
    const began: string[] = [];
    const gate = deferred();
    const all = ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((name) =>
      queue.run(name.charAt(0), async () => {
        began.push(name);
        await gate.promise;
      }),
    );
    await turn();
    expect(began).toEqual(['a1']);
    gate.resolve();
    await Promise.all(all);
    expect(began).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3']);
  });

  it('gives the turn back when the work fails', async () => {
    const queue = new FairQueue(1, 1);
    await expect(queue.run('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(queue.run('a', () => Promise.resolve(1))).resolves.toBe(1);
  });

  it('forgets who waits no more', async () => {
    const queue = new FairQueue(1, 1);
    const end = await queue.take('a');
    const gone = new AbortController();
    const waits = queue.take('a', gone.signal);
    gone.abort(new Error('gone'));
    await expect(waits).rejects.toThrow('gone');
    await expect(queue.take('a', gone.signal)).rejects.toThrow('gone');
    const next = queue.take('a');
    end();
    // twice gives back one
    end();
    (await next)();
  });

  it('keeps both bounds, leaves no place empty, and serves everybody', async () => {
    const wishes = fc.array(fc.nat({ max: 3 }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        wishes,
        async (atOnce, perCaller, callers) => {
          const queue = new FairQueue(atOnce, perCaller);
          const running = new Map<number, number>();
          let served = 0;
          const left = new Map<number, number>();
          for (const caller of callers) left.set(caller, (left.get(caller) ?? 0) + 1);
          const check = () => {
            const all = [...running.values()].reduce((sum, count) => sum + count, 0);
            expect(all).toBeLessThanOrEqual(atOnce);
            for (const count of running.values()) expect(count).toBeLessThanOrEqual(perCaller);
            const could = [...left].reduce(
              (sum, [caller, count]) =>
                sum + Math.min(count + (running.get(caller) ?? 0), perCaller),
              0,
            );
            expect(all).toBe(Math.min(atOnce, could));
          };
          const gates: (() => void)[] = [];
          const all = callers.map((caller) =>
            queue.run(String(caller), async () => {
              running.set(caller, (running.get(caller) ?? 0) + 1);
              left.set(caller, (left.get(caller) ?? 0) - 1);
              const gate = deferred();
              gates.push(gate.resolve);
              await gate.promise;
              running.set(caller, (running.get(caller) ?? 0) - 1);
              served += 1;
            }),
          );
          while (served < callers.length) {
            await turn();
            check();
            gates.shift()?.();
          }
          await Promise.all(all);
        },
      ),
      { numRuns: 100 },
    );
  });
});
