import { Injectable } from '@nestjs/common';
import type { FarmEvent } from '@impgem/client';
import { FarmError, quoted } from '@impgem/kit';
import { Database, type Transaction } from '../platform/index.js';
import { comparePositions, formatPosition, parsePosition } from './position.js';

const EVENT_KINDS = [
  'request.submitted',
  'request.finished',
  'build.assigned',
  'build.started',
  'build.finished',
  'build.cancelling',
  'step.started',
  'step.finished',
  'property.set',
  'artifact.stored',
  'worker.online',
  'worker.offline',
  'worker.lost',
  'worker.registered',
  'worker.revoked',
  'worker.quarantined',
  'worker.cleared',
  'farm.applied',
] as const;
type EventKind = (typeof EVENT_KINDS)[number];

/** `builder` and `worker` are names, `build` and `request` ids. `data` is JSON and goes to every reader. */
export interface NewEvent {
  kind: EventKind;
  builder?: string | undefined;
  build?: number | undefined;
  request?: number | undefined;
  worker?: string | undefined;
  data?: Record<string, unknown>;
}

/**
 * The outbox: what happened in the farm, written in the transaction that made it happen and read in an order
 * that can be resumed.
 *
 * A sequence is not a commit order: a row with a lower id may become visible after one with a higher id. So
 * each row carries its transaction, and readers take only rows of transactions below
 * `pg_snapshot_xmin(pg_current_snapshot())`: those are all decided, and nothing can come before them any more.
 * A long transaction holds readers back; the statement and idle timeouts bound that.
 */
@Injectable()
export class Events {
  constructor(private readonly db: Database) {}

  /** Inserts the events, in their order, and wakes readers at commit. Call it once per transaction. */
  async append(tx: Transaction, events: readonly NewEvent[]): Promise<void> {
    if (events.length > 0) tx.send(APPEND, [JSON.stringify(events)]);
  }

  /**
   * Up to `limit` events after a position, oldest first; without a position from the first event that is kept.
   * Throws `invalid-request` for a position that is none.
   */
  async read({ after, build, limit }: ReadEvents): Promise<FarmEvent[]> {
    return (await this.readOn({ after: after ?? START, build, limit })).events;
  }

  /** The same for who goes on reading: it says where to read on, and whether some wait to be readable. */
  async readOn({ after, build, kind, limit }: ReadEvents & { after: string }): Promise<EventBatch> {
    const position = parsePosition(after);
    if (!position)
      throw new FarmError(
        'invalid-request',
        `\`after\` is the id of an event, like 731.15, not ${quoted(after, 50)}`,
      );
    const sql = build !== undefined ? READ_BUILD : kind !== undefined ? READ_KIND : READ;
    const only = build ?? kind;
    const rows = await this.db.query<BatchRow>(sql, [
      position.xid,
      position.id,
      limit,
      ...(only === undefined ? [] : [only]),
    ]);
    const horizon = formatPosition({ xid: rows[0]?.horizon ?? '0', id: '0' });
    const found = rows.filter((row): row is BatchRow & EventRow => row.xid !== null);
    const events = found.filter((row) => row.decided).map(toEvent);
    const last = events.at(-1)?.id ?? after;
    // With all of them read, nothing is left below the horizon. It may lie below a position from another time.
    const end = events.length < limit && comparePositions(horizon, last) > 0 ? horizon : last;
    return { events, end, exhausted: events.length < limit, held: events.length < found.length };
  }

  /** The position behind everything that can be read now: reading after it gives what is committed later. */
  async head(): Promise<string> {
    const [row] = await this.db.query<{ horizon: string }>(HORIZON);
    return formatPosition({ xid: row?.horizon ?? '0', id: '0' });
  }
}

const START = '0.0';

/** A piece of the outbox. */
export interface EventBatch {
  events: FarmEvent[];
  /** Where to read on. Everything asked for up to here is read. */
  end: string;
  /** There was no more to read. */
  exhausted: boolean;
  /** There are later events that a running transaction holds back: read again soon. */
  held: boolean;
}

export interface ReadEvents {
  after?: string | undefined;
  /** Of one build, or of one kind; not both. */
  build?: number | undefined;
  kind?: EventKind | undefined;
  limit: number;
}

/** Without an event: only the horizon. */
type BatchRow = { horizon: string; decided: boolean | null } & (EventRow | { xid: null });

interface EventRow {
  xid: string;
  id: string;
  at: Date;
  kind: string;
  builder: string | null;
  build_id: number | null;
  request_id: number | null;
  worker: string | null;
  data: Record<string, unknown>;
}

/**
 * SQL that adds the events that `select` gives (kind, builder, build_id, request_id, worker, data), in its order: a
 * part of a statement that also makes what they tell of. Readers are woken by `pg_notify('events', '')` in it.
 */
export const insertEvents = (select: string): string =>
  `INSERT INTO events (kind, builder, build_id, request_id, worker, data) ${select}`;

const APPEND = `
  WITH appended AS (
    ${insertEvents(`
    SELECT e->>'kind', e->>'builder', (e->>'build')::bigint, (e->>'request')::bigint, e->>'worker',
           coalesce(e->'data', '{}')
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given(e, n)
    ORDER BY n`)})
  SELECT pg_notify('events', '')`;

// An undecided transaction may still bring events below those that are visible: they wait behind the horizon.
// The row comparison is what makes the index on (xid, id) a range.
const readSql = (only: string) => `
  SELECT now.horizon::text AS horizon, e.*, e.xid::xid8 < now.horizon AS decided
  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon) now
  LEFT JOIN LATERAL (
    SELECT xid::text AS xid, id::text AS id, at, kind, builder, build_id, request_id, worker, data
    FROM events WHERE ${only} (xid, id) > ($1::xid8, $2::bigint)
    ORDER BY events.xid, events.id LIMIT $3) e ON true`;
const READ = readSql('');
const READ_BUILD = readSql('build_id = $4::bigint AND');
const READ_KIND = readSql('kind = $4::text AND');
const HORIZON = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon`;

function toEvent(row: EventRow): FarmEvent {
  return {
    id: formatPosition(row),
    kind: row.kind,
    at: row.at.toISOString(),
    ...(row.builder === null ? {} : { builder: row.builder }),
    ...(row.build_id === null ? {} : { build: row.build_id }),
    ...(row.request_id === null ? {} : { request: row.request_id }),
    ...(row.worker === null ? {} : { worker: row.worker }),
    data: row.data,
  };
}
