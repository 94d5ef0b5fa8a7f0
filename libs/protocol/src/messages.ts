/**
 * The control messages of the worker wire: one class per message, JSON on the wire, checked by `codec.ts` on
 * receipt and on sending. PROTOCOL.md tells the conversation; this file is the shapes.
 *
 * A build is named by its id and its **epoch** (the hand-out counter of its lease) in every message: a message
 * of a stale epoch changes nothing.
 */
import { BuildPlan, RESULTS, type Result } from '@impgem/pipeline';
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsNotEmpty,
  IsObject,
  IsOptional,
  IsPositive,
  IsString,
  IsUUID,
  Matches,
  Max,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';

/** The columns that numbers of these names end up in hold no more. */
const INT4 = 2 ** 31 - 1;
const SAFE = Number.MAX_SAFE_INTEGER;
/** Sequences and steps have 32 and 16 bits in data frames. */
const MOST_SEQ = 2 ** 32 - 1;
const MOST_STEP = 65_535;

/** One object of a class. `ValidateNested` alone takes an array for it too. */
function One(shape: () => new () => object): PropertyDecorator {
  return (target, key) => {
    IsObject()(target, key);
    ValidateNested()(target, key);
    Type(shape)(target, key);
  };
}

/** A list of objects of a class; without `IsObject` a list of lists would do. */
function Many(shape: () => new () => object): PropertyDecorator {
  return (target, key) => {
    IsArray()(target, key);
    IsObject({ each: true })(target, key);
    ValidateNested({ each: true })(target, key);
    Type(shape)(target, key);
  };
}

export const EXECUTORS = ['docker', 'host', 'scripted'] as const;
export type ExecutorName = (typeof EXECUTORS)[number];

/** UTF-16 units of a reason's sentence. */
export const REASON_CHARS = 2000;

/** Why something ended as it did: a code for programs (registered in `reasons.ts`), a sentence for people. */
export class Reason {
  @IsString() @Matches(/^[a-z][a-z0-9-]{0,63}$/) code!: string;
  @IsString() @MaxLength(REASON_CHARS) message!: string;
}

/** Names one attempt. */
export class BuildRef {
  @IsInt() @Min(1) @Max(SAFE) build!: number;
  @IsInt() @Min(1) @Max(INT4) epoch!: number;
}

// ── Events of a build: what the worker writes into the build's journal, between log chunks ────────────────

export const EVENT_KINDS = [
  'build.started',
  'property.set',
  'step.started',
  'step.finished',
  'build.finished',
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** What all events share; an event of an unknown kind is checked as this, and so refused. */
class AnyEvent {
  @IsIn(EVENT_KINDS) kind!: EventKind;
}
export class BuildStarted extends AnyEvent {
  declare kind: 'build.started';
}
export class PropertySet extends AnyEvent {
  declare kind: 'property.set';
  /** E.g. `got_revision`, the commit that was checked out. */
  @IsString() @IsNotEmpty() @MaxLength(100) name!: string;
  @IsString() @MaxLength(1024) value!: string;
}
export class StepStarted extends AnyEvent {
  declare kind: 'step.started';
  @IsInt() @Min(0) @Max(MOST_STEP) step!: number;
}
const SHA256 = /^[0-9a-f]{64}$/;
/** Stream name to SHA-256 (hex) of its bytes; streams that wrote nothing are left out. */
export class StreamHashes {
  @IsOptional() @Matches(SHA256) system?: string;
  @IsOptional() @Matches(SHA256) stdout?: string;
  @IsOptional() @Matches(SHA256) stderr?: string;
}
export class LogEnd {
  /** Bytes of the log, all streams together. */
  @IsInt() @Min(0) @Max(SAFE) bytes!: number;
  @One(() => StreamHashes) sha256!: StreamHashes;
}
export class StepFinished extends AnyEvent {
  declare kind: 'step.finished';
  @IsInt() @Min(0) @Max(MOST_STEP) step!: number;
  @IsIn(RESULTS) result!: Result;
  @IsOptional() @IsInt() @Min(-INT4) @Max(INT4) exitCode?: number;
  @IsOptional() @One(() => Reason) reason?: Reason;
  /** The log is complete: this record stands behind its last chunk. */
  @One(() => LogEnd) log!: LogEnd;
}
export class BuildFinished extends AnyEvent {
  declare kind: 'build.finished';
  @IsIn(RESULTS) result!: Result;
  @IsOptional() @One(() => Reason) reason?: Reason;
}
export type BuildEvent = BuildStarted | PropertySet | StepStarted | StepFinished | BuildFinished;

const BUILD_EVENTS: Record<EventKind, new () => AnyEvent> = {
  'build.started': BuildStarted,
  'property.set': PropertySet,
  'step.started': StepStarted,
  'step.finished': StepFinished,
  'build.finished': BuildFinished,
};

// ── Worker → master ───────────────────────────────────────────────────────────────────────────────────────

export class Platform {
  @IsString() @MaxLength(100) os!: string;
  @IsString() @MaxLength(100) arch!: string;
  @IsString() @MaxLength(255) hostname!: string;
  @IsInt() @Min(1) @Max(INT4) cpus!: number;
  /** Bytes. */
  @IsInt() @Min(0) @Max(SAFE) memory!: number;
}

/** A build the worker still has: running, or finished with something not yet acknowledged. */
export class HeldBuild extends BuildRef {
  /** The last sequence in the worker's journal of this build; 0 when empty. */
  @IsInt() @Min(0) @Max(MOST_SEQ) seq!: number;
  @IsBoolean() finished!: boolean;
}

/** First frame of a connection; the master answers `welcome`. */
export class Hello {
  type!: 'hello';
  /** The worker program's version, e.g. `0.1.0`. */
  @IsString() @MaxLength(50) version!: string;
  /** Made new at each start of the worker process. */
  @IsUUID() process!: string;
  @One(() => Platform) platform!: Platform;
  @IsIn(EXECUTORS) executor!: ExecutorName;
  @IsArray()
  @ArrayMaxSize(64)
  @IsString({ each: true })
  @MaxLength(100, { each: true })
  labels!: string[];
  /** Builds that may run here at once. */
  @IsInt() @Min(0) @Max(1024) slots!: number;
  @ArrayMaxSize(2048)
  @Many(() => HeldBuild)
  builds!: HeldBuild[];
}

/** The master may hand out `add` more builds. A connection begins with none; each `assign` uses one up. */
export class Credit {
  type!: 'credit';
  @IsInt() @IsPositive() @Max(1024) add!: number;
}

/** UTF-16 units of what a heartbeat says of a low disk. */
export const LOW_DISK_CHARS = 500;

export class Heartbeat {
  type!: 'heartbeat';
  @IsInt() @Min(0) @Max(INT4) running!: number;
  /** Free bytes where the worker keeps its data. */
  @IsInt() @Min(0) @Max(SAFE) diskFree!: number;
  /** Free inodes there; absent when the file system does not count them. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) inodesFree?: number;
  /** The same where the engine keeps images and volumes; absent when the worker cannot see that. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) engineDiskFree?: number;
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) engineInodesFree?: number;
  /** Why it wants no work: which disk is below its watermark. Absent while all is well. */
  @IsOptional() @IsString() @IsNotEmpty() @MaxLength(LOW_DISK_CHARS) lowDisk?: string;
  /** Bytes in its spool that are not acknowledged; absent from workers that do not tell. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) spooled?: number;
  /** Objects of the engine that sweeps of this worker process found left behind, and removed. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) leaked?: number;
  /** Images that this worker process removed to make room. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) evicted?: number;
}

/** The worker finishes what it has and takes nothing new; open credit is void. */
export class Drain {
  type!: 'drain';
}

/** An `assign` that the worker will not run (draining, full, no such image allowed). Not an attempt. */
export class Refuse extends BuildRef {
  type!: 'refuse';
  @One(() => Reason) reason!: Reason;
}

/** One event of a build's journal. */
export class JournalEvent extends BuildRef {
  type!: 'event';
  @IsInt() @Min(1) @Max(MOST_SEQ) seq!: number;
  /** Milliseconds after the build's start, by the worker's clock. */
  @IsInt() @Min(0) @Max(SAFE) atMs!: number;
  @IsObject()
  @ValidateNested()
  @Type(() => AnyEvent, {
    keepDiscriminatorProperty: true,
    discriminator: {
      property: 'kind',
      subTypes: Object.entries(BUILD_EVENTS).map(([name, value]) => ({ name, value })),
    },
  })
  event!: BuildEvent;
}

/** Files up to this size may travel in a pack, so many of them and so many bytes at most. */
export const PACKED_BYTES = 32 * 1024;
export const PACK_FILES = 1000;
export const PACK_BYTES = 1024 * 1024;

/** One of the files of a pack. */
export class PackedFile {
  @IsInt() @Min(0) @Max(65_535) artifact!: number;
  @IsString() @IsNotEmpty() @MaxLength(1024) path!: string;
  @IsInt() @Min(0) @Max(PACKED_BYTES) size!: number;
  @IsInt() @Min(0) @Max(0o7777) mode!: number;
  @Matches(SHA256) sha256!: string;
}

/** A file the worker wants to send; answered with `artifact.accept` or `artifact.refused`. */
export class ArtifactOffer extends BuildRef {
  type!: 'artifact.offer';
  /** Number of the artifact in its build, from 0. */
  @IsInt() @Min(0) @Max(65_535) artifact!: number;
  /** Below the workspace, with `/`, relative, no `..`. */
  @IsString() @IsNotEmpty() @MaxLength(1024) path!: string;
  @IsInt() @Min(0) @Max(SAFE) size!: number;
  /** Permission bits, e.g. 0o755. */
  @IsInt() @Min(0) @Max(0o7777) mode!: number;
  /**
   * It is a pack: many small files that are sent as one, their bytes strung together in this order. Number, path and
   * mode of the offer are those of the first, its size is that of all.
   */
  @IsOptional() @Many(() => PackedFile) @ArrayMaxSize(PACK_FILES) files?: PackedFile[];
}

/** All bytes were sent; answered with `artifact.stored` or `artifact.refused`. */
export class ArtifactDone extends BuildRef {
  type!: 'artifact.done';
  @IsInt() @Min(0) @Max(65_535) artifact!: number;
  @IsInt() @Min(0) @Max(SAFE) size!: number;
  @Matches(SHA256) sha256!: string;
}

export const WORKER_MESSAGES = {
  hello: Hello,
  credit: Credit,
  heartbeat: Heartbeat,
  drain: Drain,
  refuse: Refuse,
  event: JournalEvent,
  'artifact.offer': ArtifactOffer,
  'artifact.done': ArtifactDone,
} as const;
export type WorkerMessage = InstanceType<(typeof WORKER_MESSAGES)[keyof typeof WORKER_MESSAGES]>;

// ── Master → worker ───────────────────────────────────────────────────────────────────────────────────────

/** What the worker shall do with a build it said it holds. */
export const VERDICTS = ['continue', 'stop', 'release'] as const;
export class HeldVerdict extends BuildRef {
  /**
   * `continue`: go on, send from `seq` + 1. `stop`: no longer yours, kill it and clean up.
   * `release`: all of it is committed, forget it.
   */
  @IsIn(VERDICTS) verdict!: (typeof VERDICTS)[number];
  /** The last sequence that is committed. */
  @IsInt() @Min(0) seq!: number;
  /** A cancel was asked for while the worker was away. */
  @IsBoolean() cancel!: boolean;
}

export class Limits {
  /** Bytes of the biggest frame either end may send. */
  @IsInt() @Min(1024) frameBytes!: number;
  /** Bytes of a build's journal that may be under way without acknowledgement. */
  @IsInt() @Min(1024) windowBytes!: number;
  /** The same for each artifact. */
  @IsInt() @Min(1024) artifactWindowBytes!: number;
  /** Bytes that all artifacts of a build may have together; absent from masters that do not tell. */
  @IsOptional() @IsInt() @Min(0) @Max(SAFE) buildArtifactBytes?: number;
}

export class Welcome {
  type!: 'welcome';
  /** The master program's version. */
  @IsString() version!: string;
  @IsUUID() worker!: string;
  @IsString() name!: string;
  /** The farm's id; labels what the worker makes in the engine. */
  @IsUUID() farm!: string;
  @IsInt() @IsPositive() heartbeatMs!: number;
  /** Labels of the hello that the worker is not given: its token does not allow them, or its machine is another. */
  @IsOptional() @IsString({ each: true }) refusedLabels?: string[];
  @One(() => Limits) limits!: Limits;
  @Many(() => HeldVerdict) builds!: HeldVerdict[];
}

export class Assign extends BuildRef {
  type!: 'assign';
  @One(() => BuildPlan) plan!: BuildPlan;
}

/** Everything up to `seq` of this build's journal is committed. */
export class Ack extends BuildRef {
  type!: 'ack';
  @IsInt() @Min(0) seq!: number;
}

/** A record came out of order: send again from `seq` + 1 on. */
export class Expect extends BuildRef {
  type!: 'expect';
  @IsInt() @Min(0) seq!: number;
}

export class Cancel extends BuildRef {
  type!: 'cancel';
  @One(() => Reason) reason!: Reason;
}

/** This attempt is not the worker's any more: kill it, say nothing more of it, clean up. */
export class Stop extends BuildRef {
  type!: 'stop';
  @One(() => Reason) reason!: Reason;
}

/** `build.finished` is committed: the worker deletes spool and workspace. */
export class Release extends BuildRef {
  type!: 'release';
}

export class ArtifactAccept extends BuildRef {
  type!: 'artifact.accept';
  @IsInt() @Min(0) artifact!: number;
  /** Bytes the master has already: send from here. */
  @IsInt() @Min(0) offset!: number;
}

/** Bytes of the artifact that are written; moves the window. */
export class ArtifactAck extends BuildRef {
  type!: 'artifact.ack';
  @IsInt() @Min(0) artifact!: number;
  @IsInt() @Min(0) offset!: number;
}

/** Durable, and its SHA-256 is right. */
export class ArtifactStored extends BuildRef {
  type!: 'artifact.stored';
  @IsInt() @Min(0) artifact!: number;
}

export class ArtifactRefused extends BuildRef {
  type!: 'artifact.refused';
  @IsInt() @Min(0) artifact!: number;
  @One(() => Reason) reason!: Reason;
}

export const MASTER_MESSAGES = {
  welcome: Welcome,
  assign: Assign,
  ack: Ack,
  expect: Expect,
  cancel: Cancel,
  stop: Stop,
  release: Release,
  'artifact.accept': ArtifactAccept,
  'artifact.ack': ArtifactAck,
  'artifact.stored': ArtifactStored,
  'artifact.refused': ArtifactRefused,
} as const;
export type MasterMessage = InstanceType<(typeof MASTER_MESSAGES)[keyof typeof MASTER_MESSAGES]>;
