import type { Tx } from '../platform/index.js';

/** Rows looked at in one statement. */
const WINDOW = 20_000;

/** Rows that belong to no build, and so are not removed with one: by table, which of them, and how long they stay. */
interface Kind {
  table: 'events' | 'audit';
  belongs: string;
  keepMs: number;
}

/**
 * Removes what is told of the farm itself when it is old: events of workers and of the farm file, and the audit
 * log. Rows are looked at in the order in which they were written, each once in the life of a master.
 */
export class OldRows {
  readonly #kinds: readonly Kind[];
  /** By table: up to which id all rows are old, and done with. */
  readonly #through = new Map<string, number>();

  constructor({ eventKeepMs, auditKeepMs }: { eventKeepMs: number; auditKeepMs: number }) {
    this.#kinds = [
      { table: 'events', belongs: 'build_id IS NULL AND request_id IS NULL', keepMs: eventKeepMs },
      { table: 'audit', belongs: 'true', keepMs: auditKeepMs },
    ];
  }

  /** How many went. Each window is a statement of its own, so that nobody waits for it. */
  async trim(db: Tx, goesOn: () => boolean): Promise<Record<Kind['table'], number>> {
    const removed = { events: 0, audit: 0 };
    for (const { table, belongs, keepMs } of this.#kinds)
      for (let more = true; more && goesOn();) {
        const after = this.#through.get(table) ?? 0;
        const [row] = await db.query<{ through: number; removed: number; more: boolean }>(
          trimSql(table, belongs),
          [after, WINDOW, keepMs],
        );
        if (!row) break;
        this.#through.set(table, Math.max(after, row.through));
        removed[table] += row.removed;
        ({ more } = row);
      }
    return removed;
  }
}

// Up to the first row that is too young; what was written behind it in time may still come before it by its id.
const trimSql = (table: string, belongs: string) => `
  WITH seen AS MATERIALIZED (
    SELECT id, at < now() - $3::float8 * interval '1 millisecond' AS old, ${belongs} AS own
    FROM ${table} WHERE id > $1::bigint ORDER BY id LIMIT $2::int
  ), young AS (
    SELECT min(id) AS id FROM seen WHERE NOT old
  ), gone AS (
    DELETE FROM ${table} t USING seen, young
    WHERE t.id = seen.id AND seen.own AND seen.id < coalesce(young.id, seen.id + 1) RETURNING 1)
  SELECT coalesce((SELECT id FROM young) - 1, (SELECT max(id) FROM seen), 0)::int8 AS through,
         (SELECT count(*) FROM gone)::int AS removed,
         (SELECT count(*) FROM seen) = $2::int AND (SELECT id FROM young) IS NULL AS more`;
