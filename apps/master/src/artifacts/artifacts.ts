import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import type { Artifact } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { BlobStore, Database, MasterConfig } from '../platform/index.js';
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
}

/** `number` counts the artifacts of a build, from 0. */
export type NumberedArtifact = Artifact & { number: number };

type Row = Omit<NumberedArtifact, 'createdAt'> & { created_at: Date };

function toArtifact({ path, size, sha256, mode, created_at }: Row): Artifact {
  return { path, size, sha256, mode, createdAt: created_at.toISOString() };
}

const SELECT = 'SELECT number, path, size, sha256, mode, created_at FROM artifacts';
const LIST = `${SELECT} WHERE build_id = $1 AND number > $2 ORDER BY number LIMIT $3`;
