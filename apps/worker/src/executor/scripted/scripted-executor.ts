import { FarmError, invariant } from '@impgem/kit';
import { throwIfCancelled } from '../cancelled.js';
import type {
  Attempt,
  Executor,
  Identity,
  RunningStep,
  StartOrder,
  StepSpec,
  Swept,
  Workspace,
} from '../executor.js';
import { MemoryWorkspace } from './memory-workspace.js';
import { Performance } from './performance.js';
import { readPlay } from './play.js';

/**
 * Runs the play that is written in a step's text (see `readPlay`) inside this process: for tests of everything
 * around an executor. It keeps the executor's contract, so that such tests mean something.
 */
export class ScriptedExecutor implements Executor {
  readonly name = 'scripted';
  readonly #workspaces = new Set<MemoryWorkspace>();
  #launches = 0;
  readonly #running = new Map<Workspace, Set<Performance>>();

  async open(_identity: Identity): Promise<void> {}

  async createWorkspace(attempt: Attempt, slot: number): Promise<Workspace> {
    for (const other of this.#workspaces) {
      invariant(other.slot !== slot, `slot ${slot} already has a workspace`);
    }
    const workspace = new MemoryWorkspace(attempt, slot, (gone) => this.#forget(gone));
    this.#workspaces.add(workspace);
    return workspace;
  }

  async start(
    workspace: Workspace,
    step: StepSpec,
    { sink, signal, launching }: StartOrder,
  ): Promise<RunningStep> {
    invariant(workspace instanceof MemoryWorkspace, 'a workspace of another executor');
    throwIfCancelled(signal);
    const play = readPlayOf(step);
    const refusal = play.find((act) => act.do === 'fail-start');
    if (refusal) throw new FarmError(refusal.code, refusal.message);
    await launching(`${++this.#launches}`);
    const performance = new Performance(play, workspace, step, sink);
    const running = this.#running.get(workspace) ?? new Set();
    this.#running.set(workspace, running.add(performance));
    const over = (): void => void running.delete(performance);
    performance.exited.then(over, over);
    return performance;
  }

  /** The process that made them took its workspaces with it. */
  async reopenWorkspace(): Promise<undefined> {
    return undefined;
  }

  async attach(): Promise<never> {
    throw new FarmError('worker-lost', 'a play ends with its process');
  }

  async leave(): Promise<void> {}

  async sweep(_keep: readonly Attempt[]): Promise<Swept> {
    return { found: 0, stuck: [] };
  }

  async close(): Promise<void> {
    for (const workspace of this.#workspaces) await workspace.dispose();
  }

  async #forget(workspace: MemoryWorkspace): Promise<void> {
    this.#workspaces.delete(workspace);
    const running = [...(this.#running.get(workspace) ?? [])];
    this.#running.delete(workspace);
    await Promise.all(running.map((performance) => performance.stop(0)));
  }
}

function readPlayOf(step: StepSpec): ReturnType<typeof readPlay> {
  try {
    return readPlay(step.run);
  } catch (cause) {
    throw new FarmError(
      'worker-error',
      `step ${step.name}: ${(cause as Error).message}`,
      {},
      { cause },
    );
  }
}
