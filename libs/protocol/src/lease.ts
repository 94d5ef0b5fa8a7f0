/**
 * The rules of leases, as pure functions. A lease is one hand-out of a build request: (request, epoch) is made by a
 * claim, and each claim makes a build of its own.
 *
 * | state of the request | lease | comes from | leaves it |
 * |---|---|---|---|
 * | pending | none | submit; a claim given back | claim, cancel |
 * | claimed | live | claim; taken back | the end of the attempt (`decideClosing`), silence (lost) |
 * | pending | lost | the holder was silent for `lostAfter` | the old holder takes it back with its epoch, another claims, cancel |
 * | finished | none | the end of the last attempt, cancel | – |
 *
 * An end is either the build's own (`build.finished` in its journal) or comes from outside: lost, refused, withdrawn,
 * given up by its holder, cancelled by force.
 */
import type { Result, RetryBounds } from '@impgem/pipeline';
import type { Reason } from './messages.js';
import { isRetried } from './reasons.js';
import type { AttemptRef } from './worker-machine-state.js';

/** What a lease's row says of who may speak for the attempt. */
export interface LeaseHolder extends AttemptRef {
  workerId: string;
  /** Given up, since its holder was silent; kept for its return. */
  lost: boolean;
}

/** Whether what this worker says of this attempt counts: it is the live lease's, in its epoch. */
export function holds(lease: LeaseHolder, workerId: string, { build, epoch }: AttemptRef): boolean {
  /* @flaw epoch-unchecked: return true; */
  return (
    !lease.lost && lease.workerId === workerId && lease.build === build && lease.epoch === epoch
  );
}

/** How an attempt ends, and what its rows say about it. */
export interface AttemptEnd {
  result: Result;
  reason?: Reason | undefined;
  /** The reason of a cancel that was asked for. */
  cancel?: Reason | undefined;
  /** Attempts of the request that were counted before this one, and those of them that the code failed. */
  attempts: number;
  failures: number;
  retry: RetryBounds;
  /** False when the attempt never really ran, e.g. it was refused. */
  counted: boolean;
  /** The holder was silent: until another worker claims the request, it may take the lease back. */
  lost?: boolean | undefined;
}

/** What becomes of the build, its request and its lease. */
export interface AttemptOutcome {
  result: Result;
  reason: Reason | null;
  /** The request goes back to the queue. */
  requeue: boolean;
  counted: 0 | 1;
  /** Counted as failed by the code. */
  failed: 0 | 1;
  /** The lease is kept, marked as lost. */
  lost: boolean;
}

/** Decides what the end of an attempt means for its request. */
export function decideClosing(end: AttemptEnd): AttemptOutcome {
  const { result, reason = null, cancel, attempts, failures, retry } = end;
  const counted = end.counted ? 1 : 0;
  const failed = result === 'failure' ? counted : 0;
  const base = { counted, failed, lost: false } as const;
  const infrastructure = result === 'retry' || result === 'exception';
  if (cancel && (infrastructure || result === 'cancelled'))
    return { ...base, result: 'cancelled', reason: cancel, requeue: false };
  if (result === 'failure') {
    const requeue = !cancel && failures + failed <= retry.failure;
    return { ...base, result, reason, requeue };
  }
  const mayHelp = result === 'retry' || (infrastructure && isRetried(reason?.code));
  if (!mayHelp) return { ...base, result, reason, requeue: false };
  const spoiled = attempts - failures + counted;
  /* @flaw retry-unbounded: return { ...base, result, reason, requeue: true }; */
  if (spoiled <= retry.infrastructure)
    return { ...base, result, reason, requeue: true, lost: end.lost ?? false };
  return { ...base, result: 'exception', reason: givenUp(reason, spoiled), requeue: false };
}

function givenUp(reason: Reason | null, attempts: number): Reason {
  const why = reason ?? { code: 'worker-error', message: 'the worker asked for another attempt' };
  const many = attempts === 1 ? '1 attempt' : `${attempts} attempts`;
  return { code: why.code, message: `${why.message}; given up after ${many}` };
}

/**
 * Counts for how long one master has been able to hear workers, since the time of a lease counts only then. A master
 * looks every so often. When a look fails (the database was away), takes much too long (the database hung, for other
 * masters too, so that they could not write down whom they hear) or comes much too late (the machine slept),
 * everything starts afresh. Times are milliseconds of a clock that only grows.
 */
export class LeaseClock {
  readonly #lateMs: number;
  #hearingSince: number | undefined;
  #lastLook = -Infinity;

  constructor(everyMs: number) {
    this.#lateMs = 3 * everyMs + 5000;
  }

  /** A look begins; returns how long this master has been hearing without a break. */
  look(now: number): number {
    /* @flaw lease-clock-runs: this.#hearingSince ??= now; return now - this.#hearingSince; */
    const gap = now - this.#lastLook;
    this.#lastLook = now;
    if (this.#hearingSince === undefined || gap > this.#lateMs) this.#hearingSince = now;
    return now - this.#hearingSince;
  }

  /**
   * The look was answered, after so long. False when that says nothing of workers: what it did is to be undone, and the
   * look to be told of as `failed`.
   */
  answered(tookMs: number): boolean {
    /* @flaw lease-clock-runs: return true; */
    // While the first look waited, others could write nobody down as heard either.
    if (this.#hearingSince === this.#lastLook) this.#hearingSince += tookMs;
    return tookMs <= this.#lateMs;
  }

  failed(): void {
    /* @flaw lease-clock-runs: return; */
    this.#hearingSince = undefined;
  }
}
