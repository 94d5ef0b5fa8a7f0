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
 * given up by its holder, cancelled by force, overdue.
 *
 * Every hand-out counts: as an attempt of the request, or, when the worker refused it, as one of its refusals. What
 * such an end says of the worker is `markOf`.
 */
import type { Result, RetryBounds } from '@impgem/pipeline';
import type { Reason } from './messages.js';
import { isRetried } from './reasons.js';
import { markOf, REFUSALS_MOST, type Mark } from './standing.js';
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
  /** The worker did not take it: how many hand-outs of the request were refused before. */
  refusals?: number | undefined;
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
  /** Counted as a refusal. */
  refused: 0 | 1;
  /** The request waits for a while before this worker may have it again; others may at once. */
  holdBack: boolean;
  /** What it says of the worker. */
  mark: Mark | null;
  /** The lease is kept, marked as lost. */
  lost: boolean;
}

/** Decides what the end of an attempt means for its request. */
export function decideClosing(end: AttemptEnd): AttemptOutcome {
  const { result, reason = null, cancel, attempts, failures, retry, refusals } = end;
  const counted = end.counted ? 1 : 0;
  const failed = result === 'failure' ? counted : 0;
  const refused = refusals === undefined ? 0 : 1;
  // What the worker never got says nothing of it.
  const had = end.counted || refused === 1;
  const base = { counted, failed, refused, mark: had ? markOf(end) : null } as const;
  const over = { ...base, lost: false, holdBack: false, requeue: false } as const;
  const again = { ...base, lost: end.lost ?? false, holdBack: had, requeue: true } as const;
  const infrastructure = result === 'retry' || result === 'exception';
  if (cancel && (infrastructure || result === 'cancelled'))
    return { ...over, result: 'cancelled', reason: cancel };
  if (result === 'failure') {
    const requeue = !cancel && failures + failed <= retry.failure;
    return { ...(requeue ? again : over), result, reason };
  }
  const mayHelp = result === 'retry' || (infrastructure && isRetried(reason?.code));
  if (!mayHelp) return { ...over, result, reason };
  if (refused && (refusals ?? 0) + 1 >= REFUSALS_MOST)
    return { ...over, result: 'exception', reason: givenUp(reason, REFUSALS_MOST, 'refusal') };
  const spoiled = attempts - failures + counted;
  /* @flaw retry-unbounded: return { ...again, lost: false, result, reason }; */
  if (spoiled <= retry.infrastructure) return { ...again, result, reason };
  return { ...over, result: 'exception', reason: givenUp(reason, spoiled, 'attempt') };
}

function givenUp(reason: Reason | null, count: number, noun: 'attempt' | 'refusal'): Reason {
  const why = reason ?? { code: 'worker-error', message: 'the worker asked for another attempt' };
  const many = `${count} ${noun}${count === 1 ? '' : 's'}`;
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
