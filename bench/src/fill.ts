import type { Client } from 'pg';

/** Builds of one statement: its memory and its write-ahead log stay bounded. */
const BATCH = 50_000;

/**
 * Copies a finished build so many times, with its request, steps, log, events and audit entry, as if it had been run
 * as often. What is copied is a real one, so that the rows are what the farm itself writes.
 */
export async function fill(db: Client, build: number, count: number): Promise<void> {
  for (let done = 0; done < count; done += BATCH) {
    const batch = Math.min(BATCH, count - done);
    await db.query('BEGIN');
    await db.query(
      `CREATE TEMPORARY TABLE copy ON COMMIT DROP AS
       SELECT n, nextval(pg_get_serial_sequence('build_requests', 'id')::regclass) AS request,
              nextval(pg_get_serial_sequence('builds', 'id')::regclass) AS build
       FROM generate_series(1, $1::int) n`,
      [batch],
    );
    for (const text of COPIES) await db.query(text, [build]);
    await db.query(
      `UPDATE builder_numbers SET last_number = last_number + $2::int
       WHERE builder_id = (SELECT builder_id FROM builds WHERE id = $1)`,
      [build, batch],
    );
    await db.query('COMMIT');
    console.error(`  ${done + batch} builds are in the database`);
  }
  await db.query('VACUUM ANALYZE');
  await db.query('CHECKPOINT');
}

const COPIES = [
  `INSERT INTO build_requests OVERRIDING SYSTEM VALUE
   SELECT made.* FROM copy CROSS JOIN build_requests r
   CROSS JOIN LATERAL jsonb_populate_record(r, jsonb_build_object('id', copy.request)) made
   WHERE r.id = (SELECT request_id FROM builds WHERE id = $1)`,
  `INSERT INTO builds OVERRIDING SYSTEM VALUE
   SELECT made.* FROM copy CROSS JOIN builds b
   JOIN builder_numbers last ON last.builder_id = b.builder_id
   CROSS JOIN LATERAL jsonb_populate_record(b, jsonb_build_object(
     'id', copy.build, 'request_id', copy.request, 'number', last.last_number + copy.n)) made
   WHERE b.id = $1`,
  `INSERT INTO steps SELECT made.* FROM copy CROSS JOIN steps s
   CROSS JOIN LATERAL jsonb_populate_record(s, jsonb_build_object('build_id', copy.build)) made
   WHERE s.build_id = $1`,
  `INSERT INTO log_chunks SELECT made.* FROM copy CROSS JOIN log_chunks c
   CROSS JOIN LATERAL jsonb_populate_record(c, jsonb_build_object('build_id', copy.build)) made
   WHERE c.build_id = $1`,
  `INSERT INTO events (at, kind, builder, build_id, request_id, worker, data)
   SELECT e.at, e.kind, e.builder, CASE WHEN e.build_id IS NOT NULL THEN copy.build END, copy.request,
          e.worker, e.data
   FROM copy CROSS JOIN events e
   WHERE e.build_id = $1 OR e.request_id = (SELECT request_id FROM builds WHERE id = $1)`,
  `INSERT INTO audit (at, actor, action, target, detail)
   SELECT a.at, a.actor, a.action, a.target, a.detail || jsonb_build_object('request', copy.request)
   FROM copy CROSS JOIN audit a
   WHERE a.action = 'build-request.create'
     AND (a.detail->>'request')::bigint = (SELECT request_id FROM builds WHERE id = $1)`,
];
