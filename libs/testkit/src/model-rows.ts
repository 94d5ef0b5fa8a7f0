/** Rows of the model of the database; see `model-database.ts`. */
import { DEFAULT_RETRY, type BuildPlan, type Result, type RetryBounds } from '@impgem/pipeline';
import type { AttemptRef, BuildEvent, Reason, StreamName } from '@impgem/protocol';

export interface ModelRequest {
  readonly id: number;
  readonly rank: number;
  readonly labels: readonly string[];
  readonly plan: BuildPlan;
  readonly retry: RetryBounds;
  /** Milliseconds; the master's own when undefined. */
  readonly lostAfterMs: number | undefined;
  state: 'pending' | 'claimed' | 'finished';
  result: Result | null;
  epoch: number;
  attempts: number;
  failures: number;
  refusals: number;
  /** By worker: how often it came back from it, and until when others are to have it. */
  heldBack: Map<string, { times: number; until: number }>;
}

export interface ModelStep {
  state: 'pending' | 'running' | 'finished';
  result: Result | null;
  reason: Reason | null;
  started: boolean;
  logBytes: number;
  logFinished: boolean;
  /** `step.finished` came with the log's length: it is complete. */
  logSealed: boolean;
  chunks: { stream: StreamName; payload: Uint8Array }[];
}

export interface ModelBuild {
  readonly id: number;
  readonly request: number;
  readonly attempt: number;
  readonly epoch: number;
  readonly worker: string;
  readonly createdAt: number;
  state: 'running' | 'cancelling' | 'finished';
  result: Result | null;
  reason: Reason | null;
  steps: ModelStep[];
}

export interface ModelLease {
  readonly build: number;
  readonly request: number;
  readonly worker: string;
  readonly epoch: number;
  seq: number;
  cancel: { reason: Reason; deadline: number } | null;
  lostAt: number | null;
  grantedAt: number;
  /** When its build should be over; never for a plan without a timeout. */
  readonly dueAt: number;
}

export interface ModelWorker {
  connectedAt: number;
  disconnectedAt: number | null;
  lastSeenAt: number;
  draining: boolean;
}

export interface ModelClaimant {
  id: string;
  labels: readonly string[];
  /** The connection's fence: a claim for an older one finds nothing. */
  connectedAt: number;
}

export interface ModelAssignment extends AttemptRef {
  plan: BuildPlan;
}

/** As it comes over the wire, event or log chunk, without what the model has no use for. */
export type ModelRecord = AttemptRef & { seq: number } & (
    | { event: BuildEvent }
    | {
        kind: 'log';
        step: number;
        stream: StreamName;
        offset: number;
        length: number;
        payload: Uint8Array;
      }
  );

export type ModelOutcome =
  | { type: 'committed' | 'gap'; build: number; epoch: number; seq: number }
  | { type: 'finished' | 'taken'; build: number; epoch: number }
  | { type: 'corrupt'; build: number; epoch: number; problem: string };

export interface ModelItem {
  worker: string;
  record: ModelRecord;
}

export interface ModelSubmission {
  plan: BuildPlan;
  labels?: readonly string[];
  /** Lower goes first. */
  rank?: number;
  retry?: RetryBounds;
  lostAfterMs?: number | undefined;
}

export type ModelChannel = 'queue' | 'lease' | 'access';

/** What an observer hears, within the transaction. */
export interface ModelWatch {
  granted(lease: ModelLease): void;
  reclaimed(lease: ModelLease): void;
  /** A record takes effect, under this lease. */
  applied(item: ModelItem, lease: ModelLease): void;
  lost(lease: ModelLease): void;
  requestFinished(request: ModelRequest): void;
}

export const newStep = (): ModelStep => ({
  state: 'pending',
  result: null,
  reason: null,
  started: false,
  logBytes: 0,
  logFinished: false,
  logSealed: false,
  chunks: [],
});

export const newRequest = (id: number, submission: ModelSubmission): ModelRequest => ({
  id,
  rank: submission.rank ?? 0,
  labels: submission.labels ?? [],
  plan: submission.plan,
  retry: submission.retry ?? DEFAULT_RETRY,
  lostAfterMs: submission.lostAfterMs,
  state: 'pending',
  result: null,
  epoch: 0,
  attempts: 0,
  failures: 0,
  refusals: 0,
  heldBack: new Map(),
});

/** A build and its lease, as a claim of the request makes them; the request's epoch is raised already. */
export function newAttempt(
  id: number,
  { id: request, epoch, attempts, plan }: ModelRequest,
  worker: string,
  now: number,
): { build: ModelBuild; lease: ModelLease } {
  const about = { request, epoch, worker };
  return {
    build: {
      ...about,
      id,
      createdAt: now,
      attempt: attempts + 1,
      state: 'running',
      result: null,
      reason: null,
      steps: plan.steps.map(newStep),
    },
    lease: {
      ...about,
      build: id,
      seq: 0,
      cancel: null,
      lostAt: null,
      grantedAt: now,
      dueAt: now + (plan.timeoutMs ?? Infinity),
    },
  };
}
