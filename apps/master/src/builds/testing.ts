/** For tests alone: rows as scheduling and journal write them, for features that only read them. */
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { STREAMS, type StreamName } from '@impgem/protocol';
import type { Database } from '../platform/index.js';

export const WORKER = { id: '00000000-0000-4000-8000-000000000001', name: 'w' };

/** A farm with the builder `b` and the worker `w`. Returns the builder's id. */
export async function seedFarm(db: Database): Promise<number> {
  await db.query(
    `INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ('', '', 't', '{b}')`,
  );
  await db.query(`INSERT INTO requirement_groups (labels) VALUES ('{}')`);
  await db.query(`INSERT INTO workers (id, name, secret_hash) VALUES ($1, $2, '')`, [
    WORKER.id,
    WORKER.name,
  ]);
  const [row] = await db.query<{ id: number }>(
    `WITH b AS (
       INSERT INTO builders (name, definition, farm_version, position) VALUES ('b', '{}', 1, 1) RETURNING *)
     INSERT INTO builder_versions SELECT id, farm_version, definition FROM b RETURNING builder_id AS id`,
  );
  return row?.id ?? 0;
}

/** A running build of the first builder, held by the worker, with one step; its log is written as the journal does. */
export class SeededBuild {
  #bytes = 0;
  #lines = 0;

  private constructor(
    private readonly db: Database,
    readonly id: number,
    readonly request: number,
  ) {}

  static async begin(db: Database, builder = 1): Promise<SeededBuild> {
    const [row] = await db.query<{ id: number; request: number }>(
      `WITH r AS (
         INSERT INTO build_requests
           (builder_id, farm_version, group_id, properties, rank, submitted_by, state, epoch)
         SELECT $1, farm_version, (SELECT min(id) FROM requirement_groups), '{}', 1, 't', 'claimed', 1
         FROM builders WHERE id = $1 RETURNING id
       ), b AS (
         INSERT INTO builds (builder_id, number, request_id, attempt, epoch, worker_id, plan, properties)
         SELECT $1, r.id::int, r.id, 1, 1, $2, '{"steps":[]}', '{}' FROM r RETURNING id, request_id
       ), l AS (
         INSERT INTO leases (build_id, request_id, worker_id, epoch) SELECT id, request_id, $2, 1 FROM b
       ), s AS (
         INSERT INTO steps (build_id, index, name, kind) SELECT id, 0, 's', 'run' FROM b)
       SELECT id, request_id AS request FROM b`,
      [builder, WORKER.id],
    );
    return new SeededBuild(db, row?.id ?? 0, row?.request ?? 0);
  }

  /** Bytes of the log so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends chunks to the log, in one commit. */
  async log(...chunks: [StreamName, string | Buffer][]): Promise<void> {
    await this.db.transaction(async (tx) => {
      for (const [stream, text] of chunks) {
        const bytes = typeof text === 'string' ? Buffer.from(text) : text;
        const data = deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH });
        await tx.query(
          `INSERT INTO log_chunks (build_id, step, byte_offset, seq, stream, length, first_line, at, crc32, data)
           VALUES ($1, 0, $2, 0, $3, $4, $5, now(), $6, $7)`,
          [
            this.id,
            this.#bytes,
            STREAMS.indexOf(stream),
            bytes.length,
            this.#lines,
            crc32(bytes),
            data,
          ],
        );
        this.#bytes += bytes.length;
        this.#lines += bytes.filter((byte) => byte === 0x0a).length;
      }
      await tx.query('UPDATE steps SET log_bytes = $2, log_lines = $3 WHERE build_id = $1', [
        this.id,
        this.#bytes,
        this.#lines,
      ]);
      await tx.query('NOTIFY log');
    });
  }

  /** The step ends, and with it its log, as its worker says. */
  async finishStep(): Promise<void> {
    await this.db.transaction(async (tx) => {
      await tx.query(
        `UPDATE steps SET state = 'finished', result = 'success', log_finished = true, log_sha256 = '{}'
         WHERE build_id = $1`,
        [this.id],
      );
      await tx.query(`INSERT INTO events (kind, build_id) VALUES ('step.finished', $1)`, [this.id]);
      await tx.query('NOTIFY events');
    });
  }

  async finish(result = 'success'): Promise<void> {
    await this.finishStep();
    await this.db.transaction(async (tx) => {
      await tx.query('DELETE FROM leases WHERE build_id = $1', [this.id]);
      await tx.query(
        `UPDATE builds SET state = 'finished', result = $2, finished_at = now() WHERE id = $1`,
        [this.id, result],
      );
      await tx.query(`UPDATE build_requests SET state = 'finished', result = $2 WHERE id = $1`, [
        this.request,
        result,
      ]);
      await tx.query(`INSERT INTO events (kind, build_id) VALUES ('build.finished', $1)`, [
        this.id,
      ]);
      await tx.query('NOTIFY events');
    });
  }
}
