import { REASONS, type Reason, type ReasonCode } from '@impgem/protocol';
import type { Result } from '@impgem/pipeline';
import { FarmError } from '@impgem/kit';

/** How a step, or a build, ended. */
export interface Ending {
  result: Result;
  exitCode?: number;
  reason?: Reason;
}

/**
 * Why something is stopped before its own end. `cancel` and `timeout` end it for good; `halt`: this worker stops,
 * so the build is for another attempt; `abandon`: it is not this worker's any more, nothing is said of it.
 */
export interface Stop {
  kind: 'cancel' | 'timeout' | 'halt' | 'abandon';
  reason: Reason;
}

/** As the wire allows. */
const MESSAGE_CHARS = 2000;

const known = (code: string): code is ReasonCode => Object.hasOwn(REASONS, code);

/** The result that a reason stands for; a code that is not registered is the infrastructure's fault. */
export function endingOf(
  { code, message }: Reason,
  exitCode?: number,
): Ending & { reason: Reason } {
  const result = known(code) ? REASONS[code].result : 'exception';
  const reason = { code, message: message.slice(0, MESSAGE_CHARS) };
  return { result, reason, ...(exitCode === undefined ? {} : { exitCode }) };
}

/** The ending of what was stopped. */
export function stoppedEnding({ kind, reason }: Stop, exitCode?: number): Ending {
  const ending = endingOf(reason, exitCode);
  if (kind === 'cancel') return { ...ending, result: 'cancelled' };
  if (kind === 'halt' || kind === 'abandon') return { ...ending, result: 'retry' };
  return ending;
}

/** A refusal tells its own reason; anything else is an error of the worker. */
export function failedEnding(error: unknown): Ending {
  if (error instanceof FarmError && known(error.code))
    return endingOf({ code: error.code, message: error.message });
  const message = error instanceof Error ? error.message : String(error);
  return endingOf({ code: 'worker-error', message });
}

/**
 * Stops one step: the first stop counts, and aborts the signal. `grace` is how long the step has between TERM
 * and KILL.
 */
export class Stopper {
  readonly controller = new AbortController();
  stop: Stop | undefined;

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  set(stop: Stop): void {
    if (this.stop) return;
    this.stop = stop;
    this.controller.abort(new FarmError(stop.reason.code, stop.reason.message));
  }
}
