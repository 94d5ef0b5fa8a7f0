import { Injectable } from '@nestjs/common';
import type { Page, Worker, WorkerCredential } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { QUARANTINE_STRIKES } from '@impgem/protocol';
import { Audit, mintToken, type Caller } from '../access/index.js';
import { Events } from '../events/index.js';
import { Database, pageOf, type PageQuery } from '../platform/index.js';
import { Leases } from '../scheduling/index.js';
import { Sessions } from './sessions.js';
import { vitalsOf, type Vitals } from './worker-rows.js';
import { shownState, type WorkerFacts } from './worker-state.js';

interface WorkerRow extends WorkerFacts {
  id: string;
  name: string;
  labels: string[];
  refused_labels: string[];
  executor: Worker['executor'];
  slots: number;
  version: string | null;
  platform: Worker['platform'];
  disk_free: number | null;
  inodes_free: number | null;
  engine_disk_free: number | null;
  engine_inodes_free: number | null;
  spooled: number | null;
  registered_at: Date;
  strikes: number | null;
  strike_reason: { code: string; message: string } | null;
}

/** The workers as admins see them. */
@Injectable()
export class Workers {
  constructor(
    private readonly db: Database,
    private readonly leases: Leases,
    private readonly events: Events,
    private readonly audit: Audit,
    private readonly sessions: Sessions,
  ) {}

  /** Those that are not revoked, by name. */
  async list({ after, limit }: PageQuery): Promise<Page<Worker>> {
    const rows = await this.db.query<WorkerRow>(LIST, [after ?? null, limit + 1]);
    return pageOf(
      rows.map((row) => this.#toWorker(row)),
      limit,
      ({ name }) => name,
    );
  }

  /** A revoked one too, when no other has the name now. Rejects with `not-found`. */
  async get(name: string): Promise<Worker> {
    const [row] = await this.db.query<WorkerRow>(GET, [named(name)]);
    if (!row) throw unknown(name);
    return this.#toWorker(row);
  }

  /** The old credential is void at once, and so is the connection that used it. Rejects with `not-found`. */
  async rotate(name: string, by: Caller): Promise<WorkerCredential> {
    return this.db.transaction(async (tx) => {
      const [row] = await tx.query<{ id: string; farm: string }>(FIND, [named(name)]);
      if (!row) throw unknown(name);
      const { token, hash } = mintToken('igw', row.id.replaceAll('-', ''));
      await tx.query('UPDATE workers SET secret_hash = $2 WHERE id = $1', [row.id, hash]);
      await this.audit.record(tx, by, 'worker.rotate', name, { id: row.id });
      await tx.query('NOTIFY access');
      return { id: row.id, name, farm: row.farm, token };
    });
  }

  /** Gives it work again, whatever it spoiled. Rejects with `not-found`. */
  async resume(name: string, by: Caller): Promise<Worker> {
    await this.db.transaction(async (tx) => {
      const [row] = await tx.query<{ id: string }>(FIND, [named(name)]);
      if (!row) throw unknown(name);
      await this.audit.record(tx, by, 'worker.resume', name, { id: row.id });
      const cleared = await tx.query(CLEAR, [row.id]);
      if (cleared.length === 0) return;
      const data = { by: by.actor };
      await this.events.append(tx, [{ kind: 'worker.cleared', worker: name, data }]);
      await tx.query('NOTIFY queue');
    });
    return this.get(name);
  }

  /** Cuts the worker off and gives its builds to others. Rejects with `not-found`. */
  async revoke(name: string, by: Caller): Promise<void> {
    await this.db.transaction(async (tx) => {
      const [row] = await tx.query<{ id: string }>(FIND, [named(name)]);
      if (!row) throw unknown(name);
      await tx.query('UPDATE workers SET revoked_at = now() WHERE id = $1', [row.id]);
      const reason = { code: 'revoked', message: `worker ${name} was revoked` };
      const events = await this.leases.abandon(tx, row.id, reason);
      await this.events.append(tx, [...events, { kind: 'worker.revoked', worker: name }]);
      await this.audit.record(tx, by, 'worker.revoke', name, { id: row.id });
      await tx.query('NOTIFY access');
    });
  }

  #toWorker(row: WorkerRow): Worker {
    const here = this.sessions.of(row.id);
    const seen = here ? new Date(Date.now() - here.silentMs()) : row.last_seen_at;
    return {
      id: row.id,
      name: row.name,
      state: shownState(row, new Date(), here?.condition),
      labels: row.labels,
      refusedLabels: row.refused_labels,
      executor: row.executor,
      slots: row.slots,
      running: row.running,
      version: row.version,
      platform: row.platform,
      connectedAt: row.disconnected_at ? null : (row.connected_at?.toISOString() ?? null),
      lastSeenAt: seen?.toISOString() ?? null,
      registeredAt: row.registered_at.toISOString(),
      quarantine: row.quarantined_until && {
        until: row.quarantined_until.toISOString(),
        strikes: row.strikes ?? 0,
        reason: row.strike_reason,
      },
      ...(here?.heartbeat ? vitalsOf(here.heartbeat) : vitalsOfRow(row)),
    };
  }
}

function vitalsOfRow(row: WorkerRow): Pick<Worker, keyof Vitals> {
  return {
    diskFree: row.disk_free,
    inodesFree: row.inodes_free,
    engineDiskFree: row.engine_disk_free,
    engineInodesFree: row.engine_inodes_free,
    lowDisk: row.low_disk,
    spooled: row.spooled,
  };
}

/** What can be no name is not even asked for: Postgres takes no NUL. */
function named(name: string): string {
  if (!/^[\w.-]+$/.test(name)) throw unknown(name);
  return name;
}

function unknown(name: string): FarmError {
  return new FarmError('not-found', `there is no worker ${name}`);
}

const SELECT = `
  SELECT w.id, w.name, w.labels, w.refused_labels, w.executor, w.slots, w.version, w.platform, w.draining,
         w.disk_free, w.inodes_free, w.engine_disk_free, w.engine_inodes_free, w.low_disk,
         w.spooled, w.registered_at, w.connected_at, w.disconnected_at, w.last_seen_at, w.revoked_at,
         CASE WHEN s.strikes >= ${QUARANTINE_STRIKES} THEN s.until END AS quarantined_until, s.strikes,
         nullif(s.reason, 'null') AS strike_reason,
         (SELECT count(*) FROM leases l WHERE l.worker_id = w.id AND l.lost_at IS NULL) AS running
  FROM workers w LEFT JOIN worker_standings s ON s.worker_id = w.id`;
const LIST = `${SELECT}
  WHERE w.revoked_at IS NULL AND ($1::text IS NULL OR w.name > $1) ORDER BY w.name LIMIT $2`;
const GET = `${SELECT} WHERE w.name = $1 ORDER BY w.revoked_at DESC NULLS FIRST LIMIT 1`;
const CLEAR = 'DELETE FROM worker_standings WHERE worker_id = $1 RETURNING worker_id';
// Before the leases, like a hello does: the two exclude each other.
const FIND = `
  SELECT id, (SELECT id FROM farm) AS farm FROM workers
  WHERE name = $1 AND revoked_at IS NULL FOR NO KEY UPDATE`;
