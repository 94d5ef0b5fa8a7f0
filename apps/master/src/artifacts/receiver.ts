import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { FarmError, portablePathProblem, quotedPath } from '@impgem/kit';
import type { ArtifactDone, ArtifactFrame, ArtifactOffer, PackedFile } from '@impgem/protocol';
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
import { claimPaths, freePaths, loadAttempt, type Attempt, type Transfer } from './attempt.js';
import { claimed, onTheirWay, refusals, refused, unstorable } from './refusals.js';
import { Room } from './room.js';

const log = logger('artifacts');
/** How often the leavings of attempts that ended without a word are looked for. */
const SWEEP_MS = 10 * 60_000;
/** An artifact of which nothing came for so long holds no room any more; looked at so often. */
const SILENT_MS = 120_000;
const SILENCE_EVERY_MS = 15_000;
/** Bytes that are written between two looks at the disk. */
const LOOK_BYTES = 1024 * 1024;
/** What one file of a pack costs in memory besides its path. */
const LISTED_BYTES = 256;

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
  readonly #room = new Room();
  #sweeping: NodeJS.Timeout | undefined;
  #resting: NodeJS.Timeout | undefined;
  /** Bytes since the last look at the disk. */
  #unseen = 0;

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
    this.#resting = setInterval(() => this.rest(performance.now()), SILENCE_EVERY_MS);
    this.#resting.unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.#sweeping);
    clearInterval(this.#resting);
  }

  /** Frees the room of what nothing came of for long. `now` is of `performance.now()`. */
  rest(now: number): void {
    const silent = this.#room.rest(now - SILENT_MS);
    if (silent > 0) log.warn({ silent }, 'nothing comes of artifacts that were offered');
    this.#show();
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
    for (const attempt of attempts) {
      if (held.has(attempt)) continue;
      const loading = this.#attempts.get(attempt);
      this.#attempts.delete(attempt);
      const known = await loading?.catch(() => undefined);
      if (known) this.#freeRoom(known);
    }
    for (const file of files)
      if (!held.has(file.replace(/-\d+$/, ''))) await this.#remove(join(this.#incoming, file));
  }

  /** Where to send from: the bytes that are here already. */
  async offer(worker: string, m: ArtifactOffer): Promise<{ offset: number }> {
    const problem = m.files ? packProblem(m, m.files) : portablePathProblem(m.path);
    if (problem) throw refused(m.path, problem, 'path');
    const most = this.config.limits.artifactBytes;
    if (m.size > most)
      throw refused(m.path, `it has ${m.size} bytes; the farm takes ${most} of one file`, 'size');
    return this.#alone(m, async () => {
      const attempt = await this.#attempt(m);
      // A pack that comes again is taken again: it is small, and changes nothing.
      const [stored] = m.files ? [] : await this.db.query<StoredRow>(STORED, [m.build, m.artifact]);
      if (stored) {
        if (stored.path === m.path && stored.size === m.size) return { offset: m.size };
        const other = quotedPath(stored.path);
        throw refused(m.path, `artifact ${m.artifact} of the build is ${other} already`, 'path');
      }
      const known = attempt.transfers.get(m.artifact);
      if (known && isSame(known, m)) return { offset: known.offset };
      if (known) await this.#discard(attempt, m.artifact);
      this.#checkBounds(worker, attempt, m);
      const paths = claimPaths(attempt, m.files ?? [m], this.config.limits.artifactsPerBuild);
      const transfer = await this.#begin(worker, m, paths).catch((error: unknown) => {
        freePaths(attempt, paths);
        throw error;
      });
      attempt.transfers.set(m.artifact, transfer);
      if (attempt.over) {
        await this.#discard(attempt, m.artifact);
        throw refused(m.path, 'the build is over', 'content');
      }
      await this.#makeRoom(attempt, m);
      log.debug({ build: m.build, epoch: m.epoch, worker, path: m.path }, 'artifact offered');
      return { offset: transfer.offset };
    });
  }

  /** Bytes that are here now. A block that begins above that is left out; below it, only what is new is taken. */
  async write(frame: ArtifactFrame): Promise<{ offset: number }> {
    return this.#alone(frame, async () => {
      const attempt = await this.#attempt(frame);
      const transfer = attempt.transfers.get(frame.artifact);
      if (!transfer) throw refused(`artifact ${frame.artifact}`, 'it was not offered', 'content');
      const bytes = frame.payload.subarray(Math.max(0, transfer.offset - frame.offset));
      if (frame.offset > transfer.offset || bytes.length === 0) return { offset: transfer.offset };
      if (transfer.offset + bytes.length > transfer.size) {
        await this.#discard(attempt, frame.artifact);
        throw refused(
          transfer.path,
          `it has more bytes than the ${transfer.size} that were offered`,
          'content',
        );
      }
      await this.#look(bytes.length)
        .then(() => this.#files.write(transfer.file, bytes, transfer.offset))
        .catch((error: unknown) => this.#spoil(attempt, frame.artifact, transfer, error));
      transfer.hash.update(bytes);
      transfer.offset += bytes.length;
      this.#room.moved(transfer.place, transfer.size, transfer.offset, performance.now());
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
      this.#room.free(transfer.place);
      // One that came again is counted already.
      if (transfer.paths.length > 0) attempt.stored += transfer.size;
      await this.#remove(transfer.file);
    });
  }

  /** The attempt is over: what was on its way is removed. */
  async forget(build: number, epoch: number): Promise<void> {
    const key = attemptKey({ build, epoch });
    const loading = this.#attempts.get(key);
    this.#attempts.delete(key);
    const attempt = await loading?.catch(() => undefined);
    if (attempt) this.#freeRoom(attempt);
    for (const [artifact, transfer] of attempt?.transfers ?? [])
      await this.#alone({ build, epoch, artifact }, () => this.#remove(transfer.file));
  }

  #freeRoom(attempt: Attempt): void {
    attempt.over = true;
    for (const { place } of attempt.transfers.values()) this.#room.free(place);
    this.#show();
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
    const loading = loadAttempt(this.db, ref.build, this.config.limits.artifactsPerBuild);
    this.#attempts.set(key, loading);
    loading.catch(() => this.#attempts.delete(key));
    return loading;
  }

  /** What one build, one worker and all of them may have on their way. */
  #checkBounds(worker: string, attempt: Attempt, m: ArtifactOffer): void {
    const { artifactsOnTheirWay, artifactListBytes, buildArtifactBytes } = this.config.limits;
    const key = attemptKey(m);
    if (this.#room.openOf(key) >= artifactsOnTheirWay)
      throw refused(
        m.path,
        `${artifactsOnTheirWay} artifacts of the build are on their way, and one more was offered`,
        'offers',
      );
    const offered = [...attempt.transfers.values()].reduce((sum, { size }) => sum + size, 0);
    if (attempt.stored + offered + m.size > buildArtifactBytes)
      throw refused(
        m.path,
        `the artifacts of the build have more than ${buildArtifactBytes} bytes together (IMPGEM_MASTER_BUILD_ARTIFACTS)`,
        'total',
      );
    const memory = memoryOf(m);
    const ofWorker = this.#room.memoryOf(worker) + memory;
    if (ofWorker > artifactListBytes / 4 || this.#room.memory + memory > artifactListBytes)
      throw refused(m.path, 'too many packs are on their way: send it by itself', 'memory');
  }

  /** Before a byte is sent: what the build has offered must fit beside what comes of the others. */
  async #makeRoom(attempt: Attempt, m: ArtifactOffer): Promise<void> {
    this.#show();
    try {
      await this.disk.makeSure(this.#room.neededBy(attemptKey(m)));
    } catch (error) {
      await this.#discard(attempt, m.artifact);
      if (!(error instanceof FarmError)) throw unstorable(m.path, error);
      refusals.inc({ why: 'room' });
      throw error;
    }
  }

  /** Now and then: more may have been offered than there is room for, and others write, too. */
  async #look(bytes: number): Promise<void> {
    this.#unseen += bytes;
    if (this.#unseen < LOOK_BYTES) return;
    this.#unseen = 0;
    await this.disk.makeSure(0);
  }

  #show(): void {
    onTheirWay.set(this.#room.open);
    claimed.set(this.#room.claims);
  }

  /** Its file is made when the first byte comes. */
  async #begin(worker: string, m: ArtifactOffer, paths: readonly string[]): Promise<Transfer> {
    const { path, size, files } = m;
    const key = attemptKey(m);
    const file = join(this.#incoming, `${key}-${m.artifact}`);
    const hash = createHash('sha256');
    let offset = 0;
    try {
      const there = await stat(file).catch(unlessMissing);
      // More than was offered is of another offer.
      if (there && there.size > size) await truncate(file, 0);
      if (there)
        for await (const bytes of createReadStream(file) as AsyncIterable<Buffer>) {
          hash.update(bytes);
          offset += bytes.length;
        }
    } catch (error) {
      throw unstorable(path, error);
    }
    const place = this.#room.take(
      { build: key, worker, memory: memoryOf(m) },
      size,
      offset,
      performance.now(),
    );
    const list = files ? { files } : {};
    return { path, size, mode: m.mode % 0o1000, file, hash, offset, paths, place, ...list };
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
      throw refused(path, problem, 'content');
    }
    await this.#files
      .close(transfer.file)
      // Of an empty one no byte came.
      .then(() => (size === 0 ? this.#make(transfer.file) : undefined))
      .catch((error: unknown) => this.#spoil(attempt, m.artifact, transfer, error));
    transfer.sha256 = sha256;
    return sha256;
  }

  async #make(file: string): Promise<void> {
    await (await open(file, 'a', 0o600)).close();
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
      throw refused(changed, 'its SHA-256 is not what the worker announced', 'content');
    }
    await this.db.transaction(async (tx) => {
      const held = await storePack(tx, m, files, bytes);
      if (!held)
        throw refused(
          path,
          'another one is stored, or the worker does not hold the build',
          'content',
        );
      const data = { files: files.length, size: bytes.length };
      await this.events.append(tx, [{ kind: 'artifact.stored', build: m.build, ...held, data }]);
    });
  }

  async #doneBefore(m: ArtifactDone): Promise<void> {
    const [stored] = await this.db.query<StoredRow>(STORED, [m.build, m.artifact]);
    if (stored?.sha256 === m.sha256) return;
    const name = stored?.path ?? `artifact ${m.artifact}`;
    const why = stored ? 'another one is stored' : 'the worker does not hold the build';
    throw refused(name, why, 'content');
  }

  /** The disk did not take it: what came of it goes. Throws what is to be told. */
  async #spoil(
    attempt: Attempt,
    artifact: number,
    { path }: Transfer,
    error: unknown,
  ): Promise<never> {
    await this.#discard(attempt, artifact);
    if (error instanceof FarmError) refusals.inc({ why: 'room' });
    throw error instanceof FarmError ? error : unstorable(path, error);
  }

  async #discard(attempt: Attempt, artifact: number): Promise<void> {
    const transfer = attempt.transfers.get(artifact);
    if (!transfer) return;
    attempt.transfers.delete(artifact);
    freePaths(attempt, transfer.paths);
    this.#room.free(transfer.place);
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

/** Bytes of memory that the list of a pack has. */
const memoryOf = ({ files = [] }: ArtifactOffer): number =>
  files.reduce((sum, { path }) => sum + LISTED_BYTES + path.length, 0);

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

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
