import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import type { DiskState, RetentionItem, RetentionReport } from '@impgem/client';
import { Counter } from 'prom-client';
import { Audit } from '../access/index.js';
import {
  BlobStore,
  Database,
  DataDisk,
  isOutage,
  logger,
  MasterConfig,
  sweepBlobs,
  sweepSmallBlobs,
} from '../platform/index.js';
import { due, dueThrough, itemOf, NOTHING, policies, type Kind, type Policy } from './due.js';
import { OldRows } from './old-rows.js';
import { removeBatch, sum } from './remove.js';

const log = logger('retention');

/** How often a master looks for what is due. */
const EVERY_MS = 10 * 60_000;
/** How long it goes on at a time: by itself, and when somebody waits for the answer. */
const PASS_MS = 5 * 60_000;
const ASKED_MS = 15_000;
/** After each batch it rests for so many times as long as that took: builds have the database first. */
const REST = 2;
/** Blobs that no row names are looked for after each pass that removed something, and in any case so often. */
const SWEEP_MS = 24 * 3600_000;
/** Arbitrary, ours alone: one master removes at a time. */
const LOCK = 7_355_611;
/** Artifacts and logs first: they are what fills the disk. */
const KINDS: readonly Kind[] = ['artifacts', 'logs', 'builds'];
const SYSTEM = 'system';

interface Pass {
  actor: string;
  /** Wait for another master's batch, rather than leave it to that one. */
  wait: boolean;
  /** By `performance.now()`. */
  until: number;
}

/**
 * Removes what is older than its builder keeps it (`retention` in the farm file): by itself now and then, and when
 * asked. In batches, each a short transaction of its own with its row in the audit log, by one master at a time. What
 * is not over for good is never touched. Blobs go afterwards, when no row names them any more.
 */
@Injectable()
export class Retention implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #blobs: BlobStore;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #sweptAt = 0;
  readonly #old: OldRows;

  constructor(
    private readonly db: Database,
    private readonly audit: Audit,
    private readonly disk: DataDisk,
    config: MasterConfig,
  ) {
    this.#blobs = new BlobStore(join(config.dataDir, 'blobs'));
    this.#old = new OldRows(config);
  }

  onApplicationBootstrap(): void {
    this.#timer = setInterval(() => {
      const until = performance.now() + PASS_MS;
      this.#alone(() => this.#pass({ actor: SYSTEM, wait: false, until })).catch(
        (error: unknown) => {
          if (!isOutage(error)) log.error({ err: error }, 'cannot remove what is due');
        },
      );
    }, EVERY_MS);
    this.#timer.unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#running;
  }

  /** What would go now. */
  async preview(): Promise<RetentionReport> {
    const items: RetentionItem[] = [];
    for (const policy of await policies(this.db)) items.push(await due(this.db, policy));
    return this.#report(items, false);
  }

  /** Removes what is due, for some seconds at most; `more` says whether there is more. */
  async run(actor: string): Promise<RetentionReport> {
    return this.#alone(async () => {
      const until = performance.now() + ASKED_MS;
      const { items, more } = await this.#pass({ actor, wait: true, until });
      const detail = { ...items.reduce<typeof NOTHING>(sum, NOTHING), more };
      await this.db.transaction((tx) =>
        this.audit.record(tx, actor, 'retention.run', 'farm', detail),
      );
      return this.#report(items, more);
    });
  }

  /** One at a time in this process; others wait. */
  async #alone<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#running.then(run);
    this.#running = mine.catch(() => undefined);
    return mine;
  }

  async #pass(pass: Pass): Promise<{ items: RetentionItem[]; more: boolean }> {
    const items: RetentionItem[] = [];
    let more = false;
    for (const policy of await policies(this.db)) {
      const done = await this.#ofBuilder(policy, pass);
      items.push(done.item);
      more ||= done.more;
    }
    await this.#trim(pass);
    const some = items.some(isSomething);
    if (!more && (some || Date.now() - this.#sweptAt > SWEEP_MS)) await this.#sweep();
    return { items, more };
  }

  /** What belongs to no builder goes by its age alone. */
  async #trim({ until }: Pass): Promise<void> {
    const goesOn = () => !this.#stop.signal.aborted && performance.now() < until;
    const gone = await this.#old.trim(this.db, goesOn);
    removed.inc({ what: 'events' }, gone.events);
    removed.inc({ what: 'audit' }, gone.audit);
    if (gone.events + gone.audit > 0)
      log.info(gone, 'removed old events and rows of the audit log');
  }

  async #ofBuilder(policy: Policy, pass: Pass): Promise<{ item: RetentionItem; more: boolean }> {
    let counts = NOTHING;
    const through = { artifacts: 0, logs: 0, builds: 0 };
    let more = false;
    for (const kind of KINDS) {
      const last = await dueThrough(this.db, policy, kind);
      for (let at = policy.done[kind]; at < last;) {
        if (this.#stop.signal.aborted || performance.now() > pass.until) {
          more = true;
          break;
        }
        const begun = performance.now();
        const batch = await this.#batch(policy, kind, at, last, pass);
        if (!batch) return { item: itemOf(policy.name, counts, through), more: true };
        counts = sum(counts, batch.counts);
        if (batch.through === 0) break;
        at = through[kind] = batch.through;
        await this.#rest(REST * (performance.now() - begun));
      }
    }
    through.logs = Math.max(through.logs, through.builds);
    through.artifacts = Math.max(through.artifacts, through.builds);
    return { item: itemOf(policy.name, counts, through), more };
  }

  /** Undefined while another master removes. */
  async #batch(policy: Policy, kind: Kind, after: number, upTo: number, { actor, wait }: Pass) {
    const batch = await this.db.transaction(async (tx) => {
      if (wait) await tx.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      else {
        const [row] = await tx.query<{ mine: boolean }>(TRY_LOCK, [LOCK]);
        if (!row?.mine) return undefined;
      }
      const done = await removeBatch(tx, policy, kind, after, upTo);
      const { counts, through } = done;
      if (isSomething(counts))
        await this.audit.record(tx, actor, 'retention.remove', policy.name, {
          kind,
          through,
          ...counts,
        });
      return done;
    });
    if (batch) {
      removed.inc({ what: 'builds' }, batch.counts.builds);
      removed.inc({ what: 'logs' }, batch.counts.logs);
      removed.inc({ what: 'artifacts' }, batch.counts.artifacts);
    }
    return batch;
  }

  async #sweep(): Promise<void> {
    const swept = await sweepBlobs(this.db, this.#blobs, this.#stop.signal);
    if (!swept || this.#stop.signal.aborted) return;
    await sweepSmallBlobs(this.db, this.#stop.signal);
    this.#sweptAt = Date.now();
    freed.inc(swept.bytes);
    if (swept.blobs > 0) log.info(swept, 'removed blobs that nothing names any more');
  }

  async #rest(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal, ref: false }).catch(() => undefined);
  }

  async #report(items: readonly RetentionItem[], more: boolean): Promise<RetentionReport> {
    const { freeBytes, freeInodes = null, low } = await this.disk.look();
    const disk: DiskState = { freeBytes, freeInodes, low };
    const some = items.filter(isSomething);
    const bytes = some.reduce((all, item) => all + item.logBytes + item.artifactBytes, 0);
    return { builders: some, bytes, more, disk };
  }
}

const isSomething = ({ builds, logs, artifacts }: typeof NOTHING): boolean =>
  builds + logs + artifacts > 0;

const TRY_LOCK = 'SELECT pg_try_advisory_xact_lock($1) AS mine';

const removed = new Counter({
  name: 'impgem_retention_removed_total',
  help: 'What retention removed, by kind',
  labelNames: ['what'],
});
const freed = new Counter({
  name: 'impgem_blob_bytes_removed_total',
  help: 'Bytes of blobs that nothing named any more',
});
