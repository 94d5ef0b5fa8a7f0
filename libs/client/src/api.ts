/**
 * The shapes of the REST interface, as JSON. Times are ISO 8601 in UTC, sizes bytes, ids numbers unless a
 * comment says otherwise. A field that may be absent is `null` in responses and left out of requests.
 */
import type { ProblemCode } from './problem-codes.js';

export type Scope = 'read' | 'trigger' | 'admin';
export type Result =
  'cancelled' | 'retry' | 'exception' | 'failure' | 'warnings' | 'success' | 'skipped';
export type StreamName = 'system' | 'stdout' | 'stderr';

export interface Reason {
  code: string;
  message: string;
}

/** One page of a list, in the order of the list; `next` is passed as `?after=` for the following page. */
export interface Page<Item> {
  items: Item[];
  next: string | null;
}

/** RFC 9457 problem. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: ProblemCode;
  detail: string;
  /** E.g. those of a farm file or of a request's fields. */
  problems?: FileProblem[];
}

/** Something wrong at one place of a farm file or a request. */
export interface FileProblem {
  /** Where, e.g. `builders.hello.steps[0].run`. */
  path: string;
  message: string;
  /** 1-based; absent when the problem is not in a file. */
  line?: number;
  column?: number;
}

export interface Token {
  id: string;
  name: string;
  scopes: Scope[];
  createdAt: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
  revokedAt: string | null;
}
/** The only answer that carries the secret: `igt_<id>_<secret>`. */
export interface NewToken extends Token {
  token: string;
}

export interface RegistrationToken {
  id: string;
  /** How many workers may still register with it. */
  usesLeft: number;
  /** Labels its workers may claim; null: any. */
  labels: string[] | null;
  /** Names that its workers may take, exact or with a `*` at the end; null: any that no builder names. */
  names: string[] | null;
  createdAt: string;
  expiresAt: string;
  revokedAt: string | null;
}
/** `igr_<id>_<secret>`. */
export interface NewRegistrationToken extends RegistrationToken {
  token: string;
}

/** Which farm this is, and what runs it. */
export interface About {
  /** UUID; labels what workers make in engines. */
  farm: string;
  version: string;
  /** The master's clock. */
  time: string;
  database: { version: string; embedded: boolean };
}

export interface Worker {
  /** UUID. */
  id: string;
  name: string;
  state:
    'online' | 'quarantined' | 'suspect' | 'lost' | 'offline' | 'draining' | 'low-disk' | 'revoked';
  labels: string[];
  /** Labels that it claims and is not given. */
  refusedLabels: string[];
  executor: 'docker' | 'host' | 'scripted' | null;
  slots: number;
  /** Builds it holds now. */
  running: number;
  version: string | null;
  platform: { os: string; arch: string; hostname: string; cpus: number; memory: number } | null;
  connectedAt: string | null;
  lastSeenAt: string | null;
  registeredAt: string;
  /** Bytes and inodes free where it keeps its data, and where its engine keeps images; null: not known. */
  diskFree: number | null;
  inodesFree: number | null;
  engineDiskFree: number | null;
  engineInodesFree: number | null;
  /** Which disk is below its watermark, so that it is given no work. */
  lowDisk: string | null;
  /** After several builds in a row that it spoiled or lost; null as long as there is nothing of the kind. */
  quarantine: Quarantine | null;
  /** Bytes of its output that the master has not got yet, as it last said; null: not known. */
  spooled: number | null;
}
/** A worker in quarantine is given no build until then, and after that one at a time until one ends well. */
export interface Quarantine {
  until: string;
  /** Builds in a row. */
  strikes: number;
  /** How the last of them ended. */
  reason: { code: string; message: string } | null;
}
/** What `POST /workers/register` and `POST /workers/:id/rotate` answer: `igw_<id>_<secret>`. */
export interface WorkerCredential {
  id: string;
  name: string;
  farm: string;
  token: string;
}

export interface PropertyDefinition {
  description: string | null;
  default: string | null;
  required: boolean;
  choices: string[] | null;
}

export interface Builder {
  name: string;
  description: string | null;
  labels: string[];
  image: string | null;
  source: { git: string; ref: string | null } | null;
  properties: Record<string, PropertyDefinition>;
  steps: { name: string; kind: string }[];
  /** Version of the farm file that it stands in. */
  farmVersion: number;
  lastBuild: Build | null;
  pending: number;
  running: number;
}

export interface FarmVersion {
  version: number;
  appliedAt: string;
  appliedBy: string;
  /** SHA-256 of the text. */
  sha256: string;
  builders: string[];
}
export interface FarmFile extends FarmVersion {
  /** The YAML, as applied. */
  source: string;
}
export interface AppliedFarm extends FarmVersion {
  /** False when the text is the one that is in force already. */
  changed: boolean;
}

export interface BuildRequest {
  id: number;
  builder: string;
  state: 'pending' | 'claimed' | 'finished';
  result: Result | null;
  reason: string | null;
  properties: Record<string, string>;
  priority: number;
  submittedAt: string;
  submittedBy: string;
  /** Its attempts, oldest first. */
  builds: { id: number; number: number; state: Build['state']; result: Result | null }[];
}

/** What is asked for together. */
export interface BuildRequests {
  /** In the order in which they were asked for. */
  requests: BuildRequest[];
}
/** A wish for a build. */
export interface BuildWish {
  builder: string;
  properties?: Record<string, string>;
  priority?: number;
  reason?: string;
}

export interface Build {
  id: number;
  builder: string;
  number: number;
  request: number;
  /** 1 for the first attempt of its request. */
  attempt: number;
  state: 'running' | 'cancelling' | 'finished';
  result: Result | null;
  reason: Reason | null;
  worker: string | null;
  properties: Record<string, string>;
  submittedBy: string;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

export interface Step {
  index: number;
  name: string;
  kind: 'checkout' | 'run' | 'artifacts';
  state: 'pending' | 'running' | 'finished';
  result: Result | null;
  reason: Reason | null;
  exitCode: number | null;
  startedAt: string | null;
  finishedAt: string | null;
  log: Log;
}

export interface Log {
  bytes: number;
  /** Newlines so far. */
  lines: number;
  finished: boolean;
  /** It was older than its builder keeps logs. */
  removed: boolean;
  /** Per stream, once finished. */
  sha256: Partial<Record<StreamName, string>> | null;
}

/** A line of a log in which something was found. */
export interface LogMatch {
  /** From 1; lines of all streams together. */
  line: number;
  /** Of the first occurrence in the line, in bytes of the log. */
  offset: number;
  /** In bytes. */
  length: number;
  stream: StreamName;
  at: string;
  /** The line, or what lies around the occurrence in a long one. */
  text: string;
  /** Where the occurrence begins and ends in `text`. */
  start: number;
  end: number;
}
export interface LogSearchResult {
  matches: LogMatch[];
  /** Passed as `after` it goes on there; null when all is searched. */
  next: string | null;
  /** Bytes of the log that are searched. */
  searched: number;
  /** Bytes of the log. */
  bytes: number;
  /** Nothing will be added to the log any more. */
  complete: boolean;
}

export interface BuildDetail extends Build {
  steps: Step[];
  artifacts: Artifact[];
  /** What it ran with, rendered. */
  plan: object;
  farmVersion: number;
}

export interface Artifact {
  path: string;
  size: number;
  sha256: string;
  mode: number;
  createdAt: string;
}

export interface FarmEvent {
  /** Grows; a position for resuming. A string, since it is opaque to clients. */
  id: string;
  kind: string;
  at: string;
  builder?: string;
  build?: number;
  request?: number;
  worker?: string;
  data: Record<string, unknown>;
}

/** What is older than a builder keeps it: what would go, or what went. */
export interface RetentionItem {
  builder: string;
  /** Builds, with all that was theirs. */
  builds: number;
  /** Up to which number; null: none. */
  buildsThrough: number | null;
  logs: number;
  logsThrough: number | null;
  /** As they are stored. */
  logBytes: number;
  artifacts: number;
  artifactsThrough: number | null;
  artifactBytes: number;
}
export interface RetentionReport {
  /** Builders of which something goes. */
  builders: RetentionItem[];
  /** Of logs and artifacts; what another build has too stays on the disk. */
  bytes: number;
  /** There is more to remove: ask again. */
  more: boolean;
  /** Where the master keeps its data. */
  disk: DiskState;
}
export interface DiskState {
  freeBytes: number;
  freeInodes: number | null;
  /** So little is free that no artifacts are taken. */
  low: boolean;
}

export interface AuditEntry {
  id: number;
  at: string;
  /** `token:<name>`, `worker:<name>` or `system`. */
  actor: string;
  action: string;
  target: string;
  detail: Record<string, unknown>;
}

export interface Session {
  actor: string;
  scopes: Scope[];
  /** To be sent as `X-CSRF-Token` with every request that changes something. */
  csrf: string;
  expiresAt: string;
}

// ── The live socket, /api/v1/live: JSON both ways ─────────────────────────────────────────────────────────

/** Client → master. `id` is the client's name for the subscription, unique on its socket. */
export type LiveRequest =
  /** Events of one build, or of the whole farm when `build` is left out; after an event id, or from now on. */
  | { type: 'subscribe'; id: string; topic: 'events'; build?: number; after?: string }
  /** The log of one step, from a byte offset (0: from the start). */
  | { type: 'subscribe'; id: string; topic: 'log'; build: number; step: number; offset?: number }
  | { type: 'unsubscribe'; id: string };

/** Master → client. */
export type LiveMessage =
  | { type: 'hello'; actor: string }
  | { type: 'subscribed'; id: string; after?: string }
  | { type: 'event'; id: string; event: FarmEvent }
  /**
   * A piece of a log. `offset` and `length` count bytes of the log; `text` is their UTF-8, invalid bytes as
   * U+FFFD, and a character cut by the border goes with the piece that completes it.
   */
  | {
      type: 'log';
      id: string;
      step: number;
      stream: StreamName;
      offset: number;
      length: number;
      at: string;
      text: string;
    }
  /** The log is complete at `bytes`. */
  | { type: 'log.end'; id: string; step: number; bytes: number }
  | { type: 'unsubscribed'; id: string }
  | { type: 'error'; id: string | null; code: ProblemCode; detail: string };
