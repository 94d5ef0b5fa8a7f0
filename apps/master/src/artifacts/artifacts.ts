import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import type { Artifact } from '@impgem/client';
import { FarmError, mendedPath, PathNames, type Pause, quotedPath } from '@impgem/kit';
import { BlobStore, Database, MasterConfig } from '../platform/index.js';
import type { ArchivedFile } from './archive.js';

/** What builds left behind. */
@Injectable()
export class Artifacts {
  readonly #blobs: BlobStore;

  constructor(
    private readonly db: Database,
    config: MasterConfig,
  ) {
    this.#blobs = new BlobStore(join(config.dataDir, 'blobs'));
  }

  /** Those of a build in the order of their numbers, after one, up to `limit`. */
  async list(build: number, after: number, limit: number): Promise<NumberedArtifact[]> {
    const rows = await this.db.query<Row>(LIST, [build, after, limit]);
    return rows.map((row) => ({ ...toArtifact(row), number: row.number }));
  }

  /** One of them, with its content, or the file that holds it. Throws `not-found`. */
  async find(build: number, path: string): Promise<Artifact & { content: Buffer | string }> {
    // Not by the rule for paths: some were stored before there was one.
    const [row] = /\0|\p{Surrogate}/u.test(path)
      ? []
      : await this.db.query<Row & { data: Buffer | null }>(FIND, [build, path]);
    if (!row)
      throw new FarmError('not-found', `build ${build} has no artifact ${quotedPath(path)}`);
    return { ...toArtifact(row), content: row.data ?? this.#blobs.path(row.sha256) };
  }

  /**
   * All that a build has so far, with a name for them together. A path that was stored before the rule for paths, and
   * that not every system takes, is mended: see `ArchiveNames`. Throws `not-found`.
   */
  async archived(build: number, pause: Pause): Promise<{ name: string; files: ArchivedFile[] }> {
    const [named] = await this.db.query<{ name: string }>(NAME, [build]);
    if (!named) throw new FarmError('not-found', `there is no build ${build}`);
    const files: ArchivedFile[] = [];
    const small = new SmallContents(this.db);
    const names = new ArchiveNames();
    for (let after = -1; ;) {
      const rows = await this.db.query<Row & { small: boolean }>(LIST_SMALL, [build, after, PAGE]);
      for (const { number, path, size, mode, sha256, created_at: time, small: isSmall } of rows) {
        await pause();
        const file = this.#blobs.path(sha256);
        const open = isSmall ? small.add(sha256) : async () => createReadStream(file);
        files.push({ path: names.next(path, number), size, mode: mode % 0o1000, time, open });
      }
      after = rows.at(-1)?.number ?? after;
      if (rows.length < PAGE) return { name: named.name, files };
    }
  }
}

/** Artifacts that are read from the database at once. */
const PAGE = 5000;

/** `number` counts the artifacts of a build, from 0. */
export type NumberedArtifact = Artifact & { number: number };

type Row = Omit<NumberedArtifact, 'createdAt'> & { created_at: Date };

function toArtifact({ path, size, sha256, mode, created_at }: Row): Artifact {
  return { path, size, sha256, mode: mode % 0o1000, createdAt: created_at.toISOString() };
}

/** More than any build has. */
const MOST_NAMES = 1_000_000;

/** Names for the files of one archive: none that some system does not take, no two that one takes for one. */
export class ArchiveNames {
  readonly #names = new PathNames(MOST_NAMES);

  /** The path itself, or what comes next to it: what is not allowed is `_`, and one that is taken has its number behind it. */
  next(path: string, number: number): string {
    const mended = mendedPath(path);
    const others = [`${mended}~${number}`, `renamed~${number}`, `renamed~${number}~`];
    const free = [mended, ...others].find(
      (name) => mendedPath(name) === name && this.#names.claim(name, number) === undefined,
    );
    return free ?? `renamed~~${number}`;
  }
}

/** Contents that are rows, in the order in which they will be asked for: many are read at once. */
class SmallContents {
  readonly #order: string[] = [];
  #loaded = new Map<string, Buffer>();

  constructor(private readonly db: Database) {}

  /** Returns what opens it. */
  add(sha256: string): () => Promise<Buffer> {
    const at = this.#order.push(sha256) - 1;
    return async () => {
      if (!this.#loaded.has(sha256)) {
        const wanted = [this.#order.slice(at, at + SMALL_AT_ONCE)];
        const rows = await this.db.query<{ sha256: string; data: Buffer }>(SMALL, wanted);
        this.#loaded = new Map(rows.map((row) => [row.sha256, row.data]));
      }
      const data = this.#loaded.get(sha256);
      if (!data) throw new Error(`the content ${sha256} is not there any more`);
      return data;
    };
  }
}

/** With the most that one of them may have, 8 MiB. */
const SMALL_AT_ONCE = 256;

const NAME = `
  SELECT bl.name || '-' || b.number AS name FROM builds b JOIN builders bl ON bl.id = b.builder_id
  WHERE b.id = $1`;
const SELECT = 'SELECT number, path, size, sha256, mode, created_at FROM artifacts';
const LIST = `${SELECT} WHERE build_id = $1 AND number > $2 ORDER BY number LIMIT $3`;
const FIND = `
  SELECT number, path, size, sha256, mode, created_at,
         (SELECT s.data FROM small_blobs s WHERE s.sha256 = a.sha256) AS data
  FROM artifacts a WHERE build_id = $1 AND path = $2`;
const LIST_SMALL = `
  SELECT number, path, size, sha256, mode, created_at,
         EXISTS (SELECT 1 FROM small_blobs s WHERE s.sha256 = a.sha256) AS small
  FROM artifacts a WHERE build_id = $1 AND number > $2 ORDER BY number LIMIT $3`;
const SMALL = 'SELECT sha256, data FROM small_blobs WHERE sha256 = ANY($1::text[])';
