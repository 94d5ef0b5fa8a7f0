/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { describeCancel } from './contract/cancel.js';
import { describeOutput } from './contract/output.js';
import { describeRemains } from './contract/remains.js';
import { describeTakeUp } from './contract/take-up.js';
import { describeWords } from './contract/words.js';
import { describeWorkspace } from './contract/workspace.js';
import { Stage } from './contract/stage.js';
import type { Subject } from './contract/stage.js';

export type { Dialect, Subject } from './contract/stage.js';

/**
 * The suite that every executor passes whole; see the contract in `executor.ts`. What differs is the language of
 * the steps' texts (`Dialect`) and how leftovers are counted.
 */
export function describeExecutor(subject: Subject): void {
  describe(`the ${subject.name} executor`, () => {
    const stage = new Stage(subject);
    stage.install();

    it('tells the exit code', async () => {
      const { exit } = await stage.play(subject.dialect.exit(3));
      expect(exit).toEqual({ exitCode: 3 });
    });

    it('takes an environment of 1 MB, none of it on a command line', async () => {
      const env = Object.fromEntries(
        Array.from({ length: 10 }, (_, index) => [`BIG_${index}`, `${index}`.repeat(100_000)]),
      );
      const { exit, stdout } = await stage.play(subject.dialect.printEnv(Object.keys(env)), {
        env,
      });
      expect(exit).toEqual({ exitCode: 0 });
      expect(stdout.toString()).toBe(`${Object.values(env).join('\n')}\n`);
    });

    it('does not take a death by signal 9 for a lack of memory', async () => {
      const { exit } = await stage.play(subject.dialect.dieBySignal9());
      expect(exit).toEqual({ exitCode: 137 });
    });

    const { outOfMemory } = subject.dialect;
    if (outOfMemory) {
      it('tells the end by the memory limit as such, with the limit', async () => {
        const { exit } = await stage.play(outOfMemory());
        expect(exit.reason).toMatchObject({
          code: 'out-of-memory',
          message: expect.stringContaining('memory limit'),
        });
      });
    }

    describeOutput(stage);
    describeCancel(stage);
    describeWorkspace(stage);
    describeRemains(stage);
    describeTakeUp(stage);
    describeWords(stage);
  });
}
