/**
 * What is older than its builder keeps it. Of each builder builds are looked at in the order of their numbers, up to
 * the first that must stay: so what was looked at once is not looked at again, and no index over all builds is needed.
 */
import type { RetentionItem } from '@impgem/client';
import type { Tx } from '../platform/index.js';

export type Kind = 'artifacts' | 'logs' | 'builds';

/** What a builder keeps, and up to which of its builds it was removed before. */
export interface Policy {
  id: number;
  name: string;
  keep: number;
  /** Milliseconds since the end of the build; null: for ever. */
  age: Record<Kind, number | null>;
  done: Record<Kind, number>;
}

/** Of all builders that have a retention, also those that are not in the farm file any more. */
export async function policies(db: Tx): Promise<Policy[]> {
  return db.query<Policy>(POLICIES);
}

/** The last build of which this goes now: it and all before it; 0 when there is none. */
export async function dueThrough(db: Tx, { id, keep, age, done }: Policy, kind: Kind) {
  if (age[kind] === null) return 0;
  const [row] = await db.query<{ through: number }>(THROUGH, [id, age[kind], keep, done[kind]]);
  return row?.through ?? 0;
}

/** Counts what goes now. */
export async function due(db: Tx, policy: Policy): Promise<RetentionItem> {
  const { id, name, done } = policy;
  const builds = await dueThrough(db, policy, 'builds');
  // With a build goes what is its.
  const logs = Math.max(builds, await dueThrough(db, policy, 'logs'));
  const artifacts = Math.max(builds, await dueThrough(db, policy, 'artifacts'));
  const [counts] = await db.query<Counts>(COUNTS, [
    id,
    builds,
    done.logs,
    logs,
    done.artifacts,
    artifacts,
  ]);
  return itemOf(name, counts ?? NOTHING, { builds, logs, artifacts });
}

export type Counts = Omit<
  RetentionItem,
  'builder' | 'buildsThrough' | 'logsThrough' | 'artifactsThrough'
>;
export const NOTHING: Counts = {
  builds: 0,
  logs: 0,
  logBytes: 0,
  artifacts: 0,
  artifactBytes: 0,
};

const last = (count: number, number: number) => (count > 0 ? number : null);

export function itemOf(
  builder: string,
  counts: Counts,
  through: Record<Kind, number>,
): RetentionItem {
  return {
    builder,
    builds: counts.builds,
    buildsThrough: last(counts.builds, through.builds),
    logs: counts.logs,
    logsThrough: last(counts.logs, through.logs),
    logBytes: counts.logBytes,
    artifacts: counts.artifacts,
    artifactsThrough: last(counts.artifacts, through.artifacts),
    artifactBytes: counts.artifactBytes,
  };
}

const POLICIES = `
  SELECT b.id, b.name, coalesce((b.definition->'retention'->>'keep')::int, 0) AS keep,
         jsonb_build_object(
           'artifacts', b.definition->'retention'->'artifactsMs', 'logs', b.definition->'retention'->'logsMs',
           'builds', b.definition->'retention'->'buildsMs') AS age,
         jsonb_build_object('artifacts', coalesce(m.artifacts_through, 0),
           'logs', coalesce(m.logs_through, 0), 'builds', 0) AS done
  FROM builders b LEFT JOIN retention_marks m ON m.builder_id = b.id
  WHERE b.definition ? 'retention' ORDER BY b.id`;

// A build is over for good when nobody has a lease for it: until then a lost worker may come back and go on.
const THROUGH = `
  SELECT least(
    coalesce((SELECT n.number FROM builds n WHERE n.builder_id = $1 AND n.state = 'finished'
              ORDER BY n.number DESC OFFSET $3::int LIMIT 1), 0),
    coalesce((SELECT b.number - 1 FROM builds b JOIN build_requests r ON r.id = b.request_id
              WHERE b.builder_id = $1 AND b.number > $4::int AND NOT (
                b.state = 'finished' AND r.state = 'finished'
                AND coalesce(b.finished_at < now() - $2::float8 * interval '1 millisecond', false)
                AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.build_id = b.id))
              ORDER BY b.number LIMIT 1), 2147483647)) AS through`;

export const HAS_LOG = `(l.build_id IS NULL OR l.blob IS NOT NULL OR l.data IS NOT NULL)`;

const COUNTS = `
  SELECT b.builds, l.logs, l."logBytes", a.artifacts, a."artifactBytes"
  FROM (SELECT count(*) AS builds FROM builds WHERE builder_id = $1 AND number <= $2::int) b
  CROSS JOIN (
    SELECT count(*) AS logs, coalesce(sum(l.size), 0)::int8 AS "logBytes"
    FROM builds b JOIN steps s ON s.build_id = b.id AND s.log_bytes > 0
    LEFT JOIN sealed_logs l ON l.build_id = s.build_id AND l.step = s.index
    WHERE b.builder_id = $1 AND b.number > $3::int AND b.number <= $4::int AND ${HAS_LOG}) l
  CROSS JOIN (
    SELECT count(*) AS artifacts, coalesce(sum(a.size), 0)::int8 AS "artifactBytes"
    FROM builds b JOIN artifacts a ON a.build_id = b.id
    WHERE b.builder_id = $1 AND b.number > $5::int AND b.number <= $6::int) a`;
