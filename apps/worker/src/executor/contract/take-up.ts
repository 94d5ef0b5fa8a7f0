/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { deferred } from '@impgem/kit';
import { testIdentity } from '@impgem/testkit';
import type {
  Attempt,
  Executor,
  Identity,
  OutputSink,
  RunningStep,
  StepSpec,
  Workspace,
} from '../executor.js';
import { Audience } from './stage.js';
import type { Stage } from './stage.js';

/** What a process left that is gone: a step that it launched, or was about to. */
export interface Left {
  identity: Identity;
  attempt: Attempt;
  spec: StepSpec;
  ref: string;
  dead: Executor;
  /** Unless the process ended before. */
  step?: RunningStep;
}

export interface Leaving {
  sink?: OutputSink;
  /** The process ends before the step is let run. */
  before?: boolean;
}

/** Launches a step in an executor whose process then does nothing more. */
export async function launchAndDie(stage: Stage, run: string, how: Leaving = {}): Promise<Left> {
  const identity = testIdentity();
  const attempt = { build: 7, epoch: 3 };
  const dead = stage.subject.create(0);
  await dead.open(identity);
  const workspace = await dead.createWorkspace(attempt, 0);
  const launched = deferred<string>();
  const spec = stage.spec(run, { index: 2 });
  const started = dead.start(workspace, spec, {
    sink: how.sink ?? (() => {}),
    signal: new AbortController().signal,
    launching: async (ref) => {
      launched.resolve(ref);
      if (how.before) await new Promise(() => {});
    },
  });
  started.catch(launched.reject);
  const ref = await launched.promise;
  const left = { identity, attempt, spec, ref, dead };
  return how.before ? left : { ...left, step: await started };
}

/** Lets a new process of the same identity take it up, and looks that nothing is left in the end. */
export async function heirOf(
  stage: Stage,
  left: Left,
  look: (heir: Executor, workspace: Workspace) => Promise<void>,
): Promise<void> {
  const { subject } = stage;
  const heir = subject.create(0);
  await heir.open(left.identity);
  try {
    const workspace = await heir.reopenWorkspace(left.attempt, 0);
    if (!workspace) throw new Error('the workspace is not found');
    // As at the start of a worker: what is taken up is no leftover.
    await heir.sweep([]);
    await look(heir, workspace);
    await workspace.dispose();
  } finally {
    await heir.sweep([]);
    await heir.close();
  }
  expect(await subject.remains(left.identity)).toEqual([]);
}

export async function take(heir: Executor, workspace: Workspace, { spec, ref }: Left) {
  const audience = new Audience();
  return { audience, step: await heir.attach(workspace, spec, ref, audience.sink) };
}

/** A later process takes up what an earlier one began. */
export function describeTakeUp(stage: Stage): void {
  const { dialect } = stage.subject;
  const { untilGo } = dialect;

  describe('a process that is gone', () => {
    it('left no workspace of an attempt that it never had', async () => {
      expect(await stage.executor.reopenWorkspace({ build: 4711, epoch: 1 }, 99)).toBeUndefined();
    });

    if (!untilGo) {
      it('took all with it', async () => {
        const left = await launchAndDie(stage, dialect.wait());
        const heir = stage.subject.create();
        await heir.open(left.identity);
        expect(await heir.reopenWorkspace(left.attempt, 0)).toBeUndefined();
        await left.dead.close();
      });
      return;
    }

    const before = Buffer.from([0x62, 0, 0xff, 0xfe, 0x0a]);

    it('left a running step, whose whole output and exit are had', async () => {
      const seen = new Audience();
      const run = untilGo(
        before,
        `${dialect.bothStreams(50)}; ${dialect.print(before)}; ${dialect.exit(3)}`,
      );
      const left = await launchAndDie(stage, run, { sink: seen.sink });
      await seen.sees('b');
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { audience, step } = await take(heir, workspace, left);
        await audience.sees('b');
        const go = stage.spec(dialect.writeFile('go', ''));
        const { signal } = new AbortController();
        const order = { sink: () => {}, signal, launching: async () => {} };
        await (
          await heir.start(workspace, go, order)
        ).exited;
        expect(await step?.exited).toEqual({ exitCode: 3 });
        const out = Array.from({ length: 50 }, (_, at) => `out ${at + 1}\n`).join('');
        expect(audience.stdout).toEqual(Buffer.concat([before, Buffer.from(out), before]));
        expect(audience.stderr.toString()).toBe(out.replaceAll('out', 'err'));
        // A step that has ended is found until it is discarded, and its output too.
        const again = await take(heir, workspace, left);
        expect(await again.step?.exited).toEqual({ exitCode: 3 });
        expect(again.audience.stdout.equals(audience.stdout)).toBe(true);
        expect(again.step?.wasOver).toBe(true);
      });
    });

    it('left 2 MB behind, which come whole', async () => {
      const { run, bytes } = dialect.write(2_000_000);
      const left = await launchAndDie(stage, run);
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { audience, step } = await take(heir, workspace, left);
        expect(await step?.exited).toEqual({ exitCode: 0 });
        expect(audience.stdout.equals(bytes)).toBe(true);
      });
    });

    it('left lines behind that are longer than an engine keeps in one piece', async () => {
      const bytes = Buffer.from(`${'x'.repeat(20_000)}\nshort\n\nno end`);
      const left = await launchAndDie(stage, dialect.print(bytes));
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { audience, step } = await take(heir, workspace, left);
        expect(await step?.exited).toEqual({ exitCode: 0 });
        expect(audience.stdout.equals(bytes)).toBe(true);
      });
    });

    it('left a step that it was about to start, which runs once', async () => {
      const run = `${dialect.print(before)}; echo ran >> count`;
      const left = await launchAndDie(stage, run, { before: true });
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { audience, step } = await take(heir, workspace, left);
        const { signal } = new AbortController();
        const order = { sink: audience.sink, signal, launching: async () => {} };
        const running = step ?? (await heir.start(workspace, left.spec, order));
        expect(await running.exited).toEqual({ exitCode: 0 });
        expect(audience.stdout).toEqual(before);
        const look = new Audience();
        const count = stage.spec(dialect.cat('count'));
        await (
          await heir.start(workspace, count, { ...order, sink: look.sink })
        ).exited;
        expect(look.stdout.toString()).toBe('ran\n');
      });
    });

    it.each([
      ['TERM', dialect.wait(), 143],
      ['KILL', dialect.waitStubbornly(), 137],
    ])('left a step that can be stopped, by %s', async (_, run, exitCode) => {
      const left = await launchAndDie(stage, run);
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { audience, step } = await take(heir, workspace, left);
        await audience.sees('started');
        await step?.stop(exitCode === 143 ? 30_000 : 300);
        expect((await step?.exited)?.exitCode).toBe(exitCode);
      });
    });

    it('left nothing of a step that was discarded, and that is told', async () => {
      const left = await launchAndDie(stage, dialect.exit(0));
      await left.dead.leave();
      await heirOf(stage, left, async (heir, workspace) => {
        const { step } = await take(heir, workspace, left);
        await step?.exited;
        await workspace.dispose();
        const other = await heir.createWorkspace(left.attempt, 0);
        await expect(take(heir, other, left)).rejects.toMatchObject({ code: 'worker-lost' });
        await other.dispose();
      });
    });
  });
}
