/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { Audience } from './stage.js';
import type { Stage } from './stage.js';

/** Cancel, in each phase of a step. */
export function describeCancel(stage: Stage): void {
  const { dialect } = stage.subject;

  describe('cancel', () => {
    it('before the start refuses to start', async () => {
      const workspace = await stage.workspace();
      const start = stage.start(
        workspace,
        stage.spec(dialect.wait()),
        () => {},
        AbortSignal.abort(),
      );
      await expect(start).rejects.toMatchObject({ code: 'cancelled' });
    });

    it('during the start ends the step, or refuses to start', async () => {
      const cancel = new AbortController();
      const workspace = await stage.workspace();
      const start = stage.start(workspace, stage.spec(dialect.wait()), () => {}, cancel.signal);
      cancel.abort();
      await start.then(
        (step) => step.stop(0),
        (error: unknown) => expect(error).toMatchObject({ code: 'cancelled' }),
      );
    });

    it('of a running step ends it by TERM', async () => {
      const audience = new Audience();
      const workspace = await stage.workspace();
      const step = await stage.start(workspace, stage.spec(dialect.wait()), audience.sink);
      await audience.sees('started');
      await step.stop(30_000);
      expect((await step.exited).exitCode).toBe(143);
    });

    it('of a step that does not mind TERM ends it by KILL after the grace', async () => {
      const audience = new Audience();
      const workspace = await stage.workspace();
      const step = await stage.start(
        workspace,
        stage.spec(dialect.waitStubbornly()),
        audience.sink,
      );
      await audience.sees('started');
      await Promise.all([step.stop(300), step.stop(300)]);
      expect((await step.exited).exitCode).toBe(137);
    });

    it('while the output drains ends it too, with a prefix of the output', async () => {
      const { run, bytes } = dialect.write(20_000_000);
      const audience = new Audience();
      const blocked = deferred();
      const open = deferred();
      const workspace = await stage.workspace();
      const step = await stage.start(workspace, stage.spec(run), async (stream, chunk) => {
        if (stream === 'stdout') {
          blocked.resolve();
          await open.promise;
        }
        await audience.sink(stream, chunk);
      });
      await blocked.promise;
      const stopped = step.stop(100);
      open.resolve();
      await stopped;
      await step.exited;
      const { stdout } = audience;
      expect(stdout.equals(bytes.subarray(0, stdout.length))).toBe(true);
    });

    it('after the exit changes nothing', async () => {
      const step = await stage.start(
        await stage.workspace(),
        stage.spec(dialect.exit(4)),
        () => {},
      );
      const exit = await step.exited;
      await step.stop(0);
      expect(await step.exited).toBe(exit);
      expect(exit).toEqual({ exitCode: 4 });
    });

    it('by disposing of the workspace ends its steps', async () => {
      const audience = new Audience();
      const workspace = await stage.workspace();
      const step = await stage.start(workspace, stage.spec(dialect.wait()), audience.sink);
      await audience.sees('started');
      await Promise.all([workspace.dispose(), workspace.dispose()]);
      expect((await step.exited).exitCode).toBeGreaterThan(0);
    });
  });
}
