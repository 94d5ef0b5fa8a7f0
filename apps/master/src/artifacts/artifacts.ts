import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import type { Artifact } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { BlobStore, Database, MasterConfig } from '../platform/index.js';
import type { ArchivedFile } from './archive.js';
import { artifactPathProblem } from './path.js';

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

  /** One of them, with the file that holds its content. Throws `not-found`. */
  async find(build: number, path: string): Promise<Artifact & { file: string }> {
    const [row] = artifactPathProblem(path)
      ? []
      : await this.db.query<Row>(`${SELECT} WHERE build_id = $1 AND path = $2`, [build, path]);
    if (!row)
      throw new FarmError(
        'not-found',
        `build ${build} has no artifact ${JSON.stringify(path.slice(0, 200))}`,
      );
    return { ...toArtifact(row), file: this.#blobs.path(row.sha256) };
  }

  /** All that a build has so far, with a name for them together. Throws `not-found`. */
  async archived(build: number): Promise<{ name: string; files: ArchivedFile[] }> {
    const [named] = await this.db.query<{ name: string }>(NAME, [build]);
    if (!named) throw new FarmError('not-found', `there is no build ${build}`);
    const files: ArchivedFile[] = [];
    for (let after = -1; ;) {
      const rows = await this.db.query<Row>(LIST, [build, after, PAGE]);
      for (const { path, size, mode, sha256, created_at: time } of rows)
        files.push({ path, size, mode, time, file: this.#blobs.path(sha256) });
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
  return { path, size, sha256, mode, createdAt: created_at.toISOString() };
}

const NAME = `
  SELECT bl.name || '-' || b.number AS name FROM builds b JOIN builders bl ON bl.id = b.builder_id
  WHERE b.id = $1`;
const SELECT = 'SELECT number, path, size, sha256, mode, created_at FROM artifacts';
const LIST = `${SELECT} WHERE build_id = $1 AND number > $2 ORDER BY number LIMIT $3`;
