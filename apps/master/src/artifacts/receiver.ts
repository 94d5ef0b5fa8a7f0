import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { FarmError, quoted } from '@impgem/kit';
import type { ArtifactDone, ArtifactFrame, ArtifactOffer, PackedFile } from '@impgem/protocol';
import { Counter } from 'prom-client';
import { Events } from '../events/index.js';
import {
  BlobError,
  BlobStore,
  Database,
  DataDisk,
  isOutage,
  keepBlobs,
  logger,
  MasterConfig,
} from '../platform/index.js';
import { OpenFiles } from './open-files.js';
import { changedIn, packProblem, storePack } from './pack.js';
import { artifactPathProblem, foldedPath } from './path.js';

const log = logger('artifacts');
/** How often the leavings of attempts that ended without a word are looked for. */
const SWEEP_MS = 10 * 60_000;

/** A file on its way. What is in `file` up to `offset` is in `hash`. */
interface Transfer {
  path: string;
  size: number;
  mode: number;
  file: string;
  offset: number;
  hash: Hash;
  /** Of a pack. */
  files?: readonly PackedFile[];
  /** Set when all of it is here and as announced: only blob and row are missing. */
  sha256?: string;
}

/** What this master knows of the artifacts of one attempt. */
interface Attempt {
  /** Folded path to number, of those stored and those on their way. */
  paths: Map<string, number>;
  transfers: Map<number, Transfer>;
}

/**
 * Takes artifacts from workers: offered, sent in blocks, done. A file on its way lies in `incoming` under its
 * build, epoch and number, so that it goes on where it was after a cut and after a restart; it becomes a blob, and then
 * a row, when its size and SHA-256 are right. The caller has made sure that the worker holds the build; the row
 * is written only while that is still so.
 *
 * Rejects with `FarmError('artifact-refused')` when it will not be taken, `storage-full` when the disk has no room for it
 * (what came of it is removed then), `database-unavailable` when it can be
 * tried again.
 */
@Injectable()
export class ArtifactReceiver implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #attempts = new Map<string, Promise<Attempt>>();
  /** The last thing that is done with each artifact: one at a time. */
  readonly #busy = new Map<string, Promise<unknown>>();
  readonly #incoming: string;
  readonly #blobs: BlobStore;
  readonly #files = new OpenFiles();
  #sweeping: NodeJS.Timeout | undefined;

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly config: MasterConfig,
    private readonly disk: DataDisk,
  ) {
    this.#incoming = join(config.dataDir, 'incoming');
    this.#blobs = new BlobStore(join(config.dataDir, 'blobs'));
  }

  async onApplicationBootstrap(): Promise<void> {
    await mkdir(this.#incoming, { recursive: true });
    await this.sweep();
    this.#sweeping = setInterval(() => {
      this.sweep().catch((error: unknown) => {
        if (!isOutage(error)) log.error({ err: error }, 'cannot clear away parts of artifacts');
      });
    }, SWEEP_MS);
    this.#sweeping.unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.#sweeping);
  }

  /** Removes what attempts left that nobody holds any more. */
  async sweep(): Promise<void> {
    // First the files, then the leases: a file that comes meanwhile has a lease, and is not looked at.
    const files = await readdir(this.#incoming);
    const attempts = [...this.#attempts.keys()];
    const leases = await this.db.query<{ attempt: string }>(
      `SELECT build_id || '-' || epoch AS attempt FROM leases`,
    );
    const held = new Set(leases.map(({ attempt }) => attempt));
    for (const attempt of attempts) if (!held.has(attempt)) this.#attempts.delete(attempt);
    for (const file of files)
      if (!held.has(file.replace(/-\d+$/, ''))) await this.#remove(join(this.#incoming, file));
  }

  /** Where to send from: the bytes that are here already. */
  async offer(worker: string, m: ArtifactOffer): Promise<{ offset: number }> {
    const problem = m.files ? packProblem(m, m.files) : artifactPathProblem(m.path);
    if (problem) throw refused(m.path, problem);
    const most = this.config.limits.artifactBytes;
    if (m.size > most)
      throw refused(m.path, `it has ${m.size} bytes; the farm takes ${most} of one file`);
    return this.#alone(m, async () => {
      const attempt = await this.#attempt(m);
      // A pack that comes again is taken again: it is small, and changes nothing.
      const [stored] = m.files ? [] : await this.db.query<StoredRow>(STORED, [m.build, m.artifact]);
      if (stored) {
        if (stored.path === m.path && stored.size === m.size) return { offset: m.size };
        throw refused(m.path, `artifact ${m.artifact} of the build is ${stored.path} already`);
      }
      const known = attempt.transfers.get(m.artifact);
      if (known && isSame(known, m)) return { offset: known.offset };
      if (known) await this.#discard(attempt, m.artifact);
      this.#claimPaths(attempt, m.files ?? [m]);
      const transfer = await this.#begin(m).catch((error: unknown) => {
        this.#freePaths(attempt, m.files ?? [m]);
        throw error;
      });
      attempt.transfers.set(m.artifact, transfer);
      await this.#makeRoom(attempt, m.artifact);
      log.debug({ build: m.build, epoch: m.epoch, worker, path: m.path }, 'artifact offered');
      return { offset: transfer.offset };
    });
  }

  /** Bytes that are here now. A block that begins above that is left out; below it, only what is new is taken. */
  async write(frame: ArtifactFrame): Promise<{ offset: number }> {
    return this.#alone(frame, async () => {
      const attempt = await this.#attempt(frame);
      const transfer = attempt.transfers.get(frame.artifact);
      if (!transfer) throw refused(`artifact ${frame.artifact}`, 'it was not offered');
      const bytes = frame.payload.subarray(Math.max(0, transfer.offset - frame.offset));
      if (frame.offset > transfer.offset || bytes.length === 0) return { offset: transfer.offset };
      if (transfer.offset + bytes.length > transfer.size) {
        await this.#discard(attempt, frame.artifact);
        throw refused(
          transfer.path,
          `it has more bytes than the ${transfer.size} that were offered`,
        );
      }
      await this.#files
        .write(transfer.file, bytes, transfer.offset)
        .catch((error: unknown) => this.#spoil(attempt, frame.artifact, transfer, error));
      transfer.hash.update(bytes);
      transfer.offset += bytes.length;
      return { offset: transfer.offset };
    });
  }

  /** Resolves when the artifact is durable; also when it was before. */
  async done(m: ArtifactDone): Promise<void> {
    await this.#alone(m, async () => {
      const attempt = await this.#attempt(m);
      const transfer = attempt.transfers.get(m.artifact);
      if (!transfer) return this.#doneBefore(m);
      const sha256 = await this.#checked(attempt, transfer, m);
      if (transfer.files) await this.#recordPack(attempt, transfer, m, transfer.files);
      else await this.#record(attempt, transfer, m, sha256);
      attempt.transfers.delete(m.artifact);
      await this.#remove(transfer.file);
    });
  }

  /** The attempt is over: what was on its way is removed. */
  async forget(build: number, epoch: number): Promise<void> {
    const key = attemptKey({ build, epoch });
    const attempt = await this.#attempts.get(key)?.catch(() => undefined);
    this.#attempts.delete(key);
    for (const [artifact, transfer] of attempt?.transfers ?? [])
      await this.#alone({ build, epoch, artifact }, () => this.#remove(transfer.file));
  }

  /** Runs after what was asked before for the same artifact. */
  async #alone<T>(ref: ArtifactRef, run: () => Promise<T>): Promise<T> {
    const key = `${attemptKey(ref)}-${ref.artifact}`;
    const earlier = this.#busy.get(key) ?? Promise.resolve();
    const mine = earlier.then(run, run);
    this.#busy.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(key) === mine) this.#busy.delete(key);
    }
  }

  #attempt(ref: { build: number; epoch: number }): Promise<Attempt> {
    const key = attemptKey(ref);
    const known = this.#attempts.get(key);
    if (known) return known;
    const loading = this.#load(ref.build);
    this.#attempts.set(key, loading);
    loading.catch(() => this.#attempts.delete(key));
    return loading;
  }

  async #load(build: number): Promise<Attempt> {
    const rows = await this.db.query<{ path: string; number: number }>(
      'SELECT path, number FROM artifacts WHERE build_id = $1',
      [build],
    );
    const paths = new Map(rows.map((row) => [foldedPath(row.path), row.number]));
    return { paths, transfers: new Map() };
  }

  /** Before a byte is sent: what was offered by all must fit. */
  async #makeRoom(attempt: Attempt, artifact: number): Promise<void> {
    let coming = 0;
    for (const loading of this.#attempts.values()) {
      const known = await loading.catch(() => undefined);
      for (const { size, offset } of known?.transfers.values() ?? []) coming += size - offset;
    }
    try {
      await this.disk.makeSure(coming);
    } catch (error) {
      const path = attempt.transfers.get(artifact)?.path ?? '';
      await this.#discard(attempt, artifact);
      if (!(error instanceof FarmError)) throw unstorable(path, error);
      refusals.inc();
      throw error;
    }
  }

  /** All of them, or none and an error. */
  #claimPaths(attempt: Attempt, files: readonly { path: string; artifact: number }[]): void {
    for (const [n, file] of files.entries())
      try {
        this.#claimPath(attempt, file);
      } catch (error) {
        this.#freePaths(attempt, files.slice(0, n));
        throw error;
      }
  }

  #freePaths(attempt: Attempt, files: readonly { path: string }[]): void {
    for (const { path } of files) attempt.paths.delete(foldedPath(path));
  }

  #claimPath(attempt: Attempt, { path, artifact }: { path: string; artifact: number }): void {
    const folded = foldedPath(path);
    const taken = attempt.paths.get(folded);
    if (taken !== undefined && taken !== artifact)
      throw refused(path, 'another artifact has that path, or one that differs only in case');
    const most = this.config.limits.artifactsPerBuild;
    if (taken === undefined && attempt.paths.size >= most)
      throw refused(path, `a build has at most ${most} artifacts: pack them into one file`);
    attempt.paths.set(folded, artifact);
  }

  async #begin(m: ArtifactOffer): Promise<Transfer> {
    const { path, size, mode } = m;
    const file = join(this.#incoming, `${attemptKey(m)}-${m.artifact}`);
    const hash = createHash('sha256');
    try {
      await mkdir(this.#incoming, { recursive: true });
      const handle = await open(file, 'a', 0o600);
      await handle.close();
      // More than was offered is of another offer.
      if ((await stat(file)).size > size) await truncate(file, 0);
      let offset = 0;
      for await (const bytes of createReadStream(file) as AsyncIterable<Buffer>) {
        hash.update(bytes);
        offset += bytes.length;
      }
      const files = m.files ? { files: m.files } : {};
      return { path, size, mode, file, hash, offset, ...files };
    } catch (error) {
      throw unstorable(path, error);
    }
  }

  /** The SHA-256 of a file that came whole. */
  async #checked(attempt: Attempt, transfer: Transfer, m: ArtifactDone): Promise<string> {
    if (transfer.sha256 !== undefined) return transfer.sha256;
    const { path, size, offset } = transfer;
    const sha256 = transfer.hash.digest('hex');
    const problem =
      offset !== size || m.size !== size
        ? `${offset} bytes came, ${m.size} were announced, ${size} offered`
        : sha256 !== m.sha256
          ? 'its SHA-256 is not what the worker announced; it changed while it was sent'
          : undefined;
    if (problem) {
      await this.#discard(attempt, m.artifact);
      throw refused(path, problem);
    }
    await this.#files
      .close(transfer.file)
      .catch((error: unknown) => this.#spoil(attempt, m.artifact, transfer, error));
    transfer.sha256 = sha256;
    return sha256;
  }

  async #record(
    attempt: Attempt,
    transfer: Transfer,
    m: ArtifactDone,
    sha256: string,
  ): Promise<void> {
    const { path, size, mode, file } = transfer;
    await keepBlobs(this.db, this.#blobs, [{ file, sha256 }], async (tx) => {
      const params = [m.build, m.epoch, m.artifact, path, size, sha256, mode];
      const [row] = await tx.query<{ builder: string; request: number; worker: string }>(
        INSERT,
        params,
      );
      if (!row) return this.#doneBefore(m);
      const data = { path, size, sha256 };
      return this.events.append(tx, [{ kind: 'artifact.stored', build: m.build, ...row, data }]);
    }).catch(async (error: unknown) => {
      if (!(error instanceof BlobError)) throw error;
      await this.#spoil(attempt, m.artifact, transfer, error.cause);
    });
  }

  async #recordPack(
    attempt: Attempt,
    { path, file }: Transfer,
    m: ArtifactDone,
    files: readonly PackedFile[],
  ): Promise<void> {
    const bytes = await readFile(file).catch((error: unknown) => {
      throw unstorable(path, error);
    });
    const changed = changedIn(files, bytes);
    if (changed !== undefined) {
      await this.#discard(attempt, m.artifact);
      throw refused(changed, 'its SHA-256 is not what the worker announced');
    }
    await this.db.transaction(async (tx) => {
      const held = await storePack(tx, m, files, bytes);
      if (!held)
        throw refused(path, 'another one is stored, or the worker does not hold the build');
      const data = { files: files.length, size: bytes.length };
      await this.events.append(tx, [{ kind: 'artifact.stored', build: m.build, ...held, data }]);
    });
  }

  async #doneBefore(m: ArtifactDone): Promise<void> {
    const [stored] = await this.db.query<StoredRow>(STORED, [m.build, m.artifact]);
    if (stored?.sha256 === m.sha256) return;
    const name = stored?.path ?? `artifact ${m.artifact}`;
    throw refused(name, stored ? 'another one is stored' : 'the worker does not hold the build');
  }

  /** The disk did not take it: what came of it goes. Throws what is to be told. */
  async #spoil(
    attempt: Attempt,
    artifact: number,
    { path }: Transfer,
    error: unknown,
  ): Promise<never> {
    await this.#discard(attempt, artifact);
    throw unstorable(path, error);
  }

  async #discard(attempt: Attempt, artifact: number): Promise<void> {
    const transfer = attempt.transfers.get(artifact);
    if (!transfer) return;
    attempt.transfers.delete(artifact);
    this.#freePaths(attempt, transfer.files ?? [transfer]);
    await this.#remove(transfer.file);
  }

  async #remove(file: string): Promise<void> {
    await this.#files.drop(file);
    await rm(file, { force: true });
  }
}

interface ArtifactRef {
  build: number;
  epoch: number;
  artifact: number;
}
interface StoredRow {
  path: string;
  size: number;
  sha256: string;
}

/** Whether it is the file, or the pack, that is on its way already. */
const isSame = (known: Transfer, { path, size, files }: ArtifactOffer): boolean =>
  known.path === path &&
  known.size === size &&
  JSON.stringify(known.files) === JSON.stringify(files);

const attemptKey = ({ build, epoch }: { build: number; epoch: number }) => `${build}-${epoch}`;

function refused(path: string, why: string, cause?: unknown): FarmError {
  refusals.inc();
  return new FarmError('artifact-refused', `${quoted(path)}: ${why}`, {}, { cause });
}

function unstorable(path: string, error: unknown): FarmError {
  log.error({ err: error, path }, 'an artifact cannot be stored');
  const code = (error as NodeJS.ErrnoException).code ?? 'error';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    refusals.inc();
    const text = `${quoted(path)}: the disk of the master is full`;
    return new FarmError('storage-full', text, {}, { cause: error });
  }
  return refused(path, `the master cannot store it (${code})`, error);
}

const refusals = new Counter({
  name: 'impgem_artifacts_refused_total',
  help: 'Artifacts that were not taken',
});

const STORED = 'SELECT path, size, sha256 FROM artifacts WHERE build_id = $1 AND number = $2';
const INSERT = `
  WITH held AS (
    SELECT build_id, request_id, worker_id FROM leases
    WHERE build_id = $1 AND epoch = $2 AND lost_at IS NULL FOR SHARE
  ), stored AS (
    INSERT INTO artifacts (build_id, number, path, size, sha256, mode)
    SELECT build_id, $3::int, $4::text, $5::bigint, $6::text, $7::int FROM held
    ON CONFLICT DO NOTHING RETURNING build_id)
  SELECT b.name AS builder, held.request_id AS request, w.name AS worker
  FROM stored JOIN held USING (build_id)
  JOIN builds ON builds.id = held.build_id JOIN builders b ON b.id = builds.builder_id
  JOIN workers w ON w.id = held.worker_id`;
