import { invariant, cutText } from '@impgem/kit';
import type { PlannedStep } from '@impgem/pipeline';
import type {
  Executor,
  OutputSink,
  RunningStep,
  StepExit,
  StepSpec,
  Workspace,
} from '../executor/executor.js';
import { Silence } from './silence.js';
import type { StepLog } from './step-log.js';
import { endingOf, stoppedEnding, type Ending, type Stop, type Stopper } from './stop.js';

/** Between TERM and KILL, so that a test suite can say how far it came. */
export const GRACE_MS = 10_000;
/** After KILL: an engine that has not ended a step by then does not answer. */
const DEADLINE_MS = 30_000;
/** Of a step's text shown at the head of its log. */
const SHOWN_BYTES = 4096;

export interface CommandOrder {
  executor: Executor;
  workspace: Workspace;
  index: number;
  step: PlannedStep;
  log: StepLog;
  stopper: Stopper;
  /** Notes that the step is about to run. */
  launching: (ref: string) => Promise<void>;
  /**
   * Notes that the step is about to be stopped: when this process dies while it does, the next one finds an exit
   * that is the farm's doing, and would take it for the code's.
   */
  stopping: (stop: Stop) => Promise<void>;
  /** By which an earlier process had launched it. */
  launched?: string;
  /** Its time limit is over or counts on; called when it is not over by itself. */
  arm: () => void;
  /** The log has its beginning: another process was here before. */
  again: boolean;
}

/** A step that was run, and how it ended. */
export interface Done {
  ending: Ending;
  /** To be called when the ending is written down. */
  discard: () => void;
}

/** Runs one `run` step, or takes it up, and judges its end. Rejects when it could not be started. */
export async function runCommand(order: CommandOrder): Promise<Done> {
  const step = await begun(order);
  const ending = await judged(step, order);
  return { ending, discard: () => step.running.discard() };
}

interface Begun {
  running: RunningStep;
  silence: Silence | undefined;
}

async function begun(order: CommandOrder): Promise<Begun> {
  const { executor, workspace, index, step, log, stopper, launched, launching, arm } = order;
  invariant(step.run !== undefined, 'a run step has a command');
  const { name, run, env, image, workdir } = step;
  const spec: StepSpec = {
    index,
    name,
    run,
    env,
    ...(image === undefined ? {} : { image }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(step.output === 'merged' ? { merged: true } : {}),
  };
  const silence = silenceOf(step, stopper);
  const sink: OutputSink = (stream, bytes) => {
    const stored = log.write(stream, bytes);
    return silence === undefined || stream === 'system' ? stored : silence.heard(stored);
  };
  const known =
    launched === undefined ? undefined : await executor.attach(workspace, spec, launched, sink);
  if (!known?.wasOver) arm();
  if (known) return { running: known, silence };
  if (order.again) log.say('the step had not begun: it begins now');
  else log.say(shown(run));
  const { signal } = stopper;
  const running = await executor.start(workspace, spec, { sink, signal, launching });
  return { running, silence };
}

async function judged(
  { running, silence }: Begun,
  { executor, log, stopper, stopping }: CommandOrder,
): Promise<Ending> {
  if (!running.wasOver) silence?.begin();
  const exit = await ended(running, stopper, stopping).finally(() => silence?.end());
  if (stopper.stop) return stoppedEnding(stopper.stop, exit.exitCode);
  if (exit.reason) return endingOf(exit.reason, exit.exitCode);
  if (exit.exitCode === 0) return { result: 'success', exitCode: 0 };
  if (exit.exitCode === 126) log.say(HINT_126);
  if (exit.exitCode === 127) log.say(executor.name === 'docker' ? HINT_127_IMAGE : HINT_127);
  const message = `exit code ${exit.exitCode ?? 'unknown'}`;
  return endingOf({ code: 'exit-code', message }, exit.exitCode);
}

/** Stops the step when it says nothing for too long. */
function silenceOf({ silenceTimeoutMs: ms }: PlannedStep, stopper: Stopper): Silence | undefined {
  if (ms === undefined) return undefined;
  const message = `the step said nothing for longer than ${ms / 1000} s`;
  const reason = { code: 'silence-timeout', message };
  return new Silence(ms, () => stopper.set({ kind: 'timeout', reason }));
}

const HINT_126 =
  'hint: exit code 126 says that a file was found and could not be run: it may not be executed (chmod +x), is made for\n' +
  'another kind of machine, or its first line names an interpreter that is not there.';
const HINT_127 =
  'hint: exit code 127 says that a command was not found: it is not installed here, or not in the PATH of this step.';
const HINT_127_IMAGE = `${HINT_127}
Each step runs in a fresh container of its image, and only the workspace goes from one to the next: what an earlier
step installed is not there. Install it in this step, or use an image that has it.`;

/** The step's end, of its own or by being stopped; bounded even when the engine does not answer. */
async function ended(
  running: RunningStep,
  stopper: Stopper,
  stopping: CommandOrder['stopping'],
): Promise<StepExit> {
  const stopped = new Promise<undefined>((resolve) => {
    if (stopper.signal.aborted) resolve(undefined);
    else stopper.signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
  const own = await Promise.race([running.exited, stopped]);
  if (own) return own;
  const graceMs = graceOf(stopper.stop);
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<StepExit>((resolve) => {
    timer = setTimeout(() => resolve({}), graceMs + DEADLINE_MS);
  });
  // A spool that cannot be written keeps nothing from being stopped.
  const noted = stopper.stop ? stopping(stopper.stop).catch(() => {}) : Promise.resolve();
  const stop = noted.then(() => running.stop(graceMs)).then(() => running.exited);
  try {
    return await Promise.race([stop, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** A step that nobody waits for any more gets no time to say good-bye. */
const graceOf = (stop: Stop | undefined): number =>
  stop?.kind === 'halt' || stop?.kind === 'abandon' ? 0 : GRACE_MS;

function shown(run: string): string {
  const text = run.trimEnd();
  const cut = text.length > SHOWN_BYTES ? `${cutText(text, SHOWN_BYTES)}\n…` : text;
  return cut
    .split('\n')
    .map((line, at) => (at === 0 ? `$ ${line}` : `> ${line}`))
    .join('\n');
}
