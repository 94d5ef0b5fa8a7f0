import { reasonOf, REASONS, type Reason, type ReasonCode } from '@impgem/protocol';
import type { Result } from '@impgem/pipeline';
import { FarmError } from '@impgem/kit';
import type { StopNote } from '../spool/index.js';
import { limitText } from './chunker.js';

/** How a step, or a build, ended. */
export interface Ending {
  result: Result;
  exitCode?: number;
  reason?: Reason;
}

/**
 * Why something is stopped before its own end. `cancel` and `timeout` (of time, or of output) end it for good; `halt`: this worker stops,
 * so the build is for another attempt; `abandon`: it is not this worker's any more, nothing is said of it.
 */
export interface Stop {
  kind: StopNote['kind'] | 'abandon';
  reason: Reason;
}

const known = (code: string): code is ReasonCode => Object.hasOwn(REASONS, code);

/** The result that a reason stands for; a code that is not registered is the infrastructure's fault. */
export function endingOf(
  { code, message }: Reason,
  exitCode?: number,
): Ending & { reason: Reason } {
  const result = known(code) ? REASONS[code].result : 'exception';
  const reason = reasonOf(code, message);
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

const seconds = (ms: number): string => `${ms / 1000} s`;

/** Why something was stopped that took too long. */
export function tooLong(what: 'step' | 'build', limitMs: number): Stop {
  const message = `the ${what} took longer than ${seconds(limitMs)}`;
  return { kind: 'timeout', reason: { code: `${what}-timeout`, message } };
}

/** Why a step was stopped that wrote too much. */
export function tooMuch(limit: number): Stop {
  return { kind: 'timeout', reason: { code: 'output-limit', message: limitText(limit) } };
}

/** A timer for any length of time that is left; at once when none is. */
export function after(ms: number, call: () => void): NodeJS.Timeout {
  return setTimeout(call, Math.min(Math.max(ms, 0), 2 ** 31 - 1));
}

/**
 * Stops one step: the first stop counts, and aborts the signal. `grace` is how long the step has between TERM
 * and KILL.
 */
export class Stopper {
  readonly controller = new AbortController();
  stop: Stop | undefined;
  private timer: NodeJS.Timeout | undefined;

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  set(stop: Stop): void {
    if (this.stop) return;
    this.stop = stop;
    this.controller.abort(new FarmError(stop.reason.code, stop.reason.message));
  }

  /** Stops it when it takes longer than its limit, of which `spentMs` are over. */
  limit(limitMs: number, spentMs: number): void {
    this.timer = after(limitMs - spentMs, () => this.set(tooLong('step', limitMs)));
  }

  /** The step is over. */
  end(): void {
    clearTimeout(this.timer);
  }
}
