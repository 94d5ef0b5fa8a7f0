import { cutCredentials } from '@impgem/kit';
import type { Build, Reason, Result, Step } from '@impgem/client';

/** A build as `BUILD_COLUMNS` gives it. */
export interface BuildRow {
  id: number;
  builder: string;
  number: number;
  request: number;
  attempt: number;
  state: Build['state'];
  result: Result | null;
  reason: Reason | null;
  worker: string | null;
  properties: Record<string, string>;
  submitted_by: string;
  created_at: Date | string;
  started_at: Date | string | null;
  finished_at: Date | string | null;
}

/** Properties of more bytes, as stored, are of a time before there was a bound: they are in no answer. */
const PROPERTY_BYTES = 1024 * 1024;

/** Of `FROM ${BUILD_TABLES}`. */
export const BUILD_COLUMNS = `
  b.id, bl.name AS builder, b.number, b.request_id AS request, b.attempt, b.state, b.result, b.reason,
  w.name AS worker,
  CASE WHEN pg_column_size(b.properties) <= ${PROPERTY_BYTES} THEN b.properties ELSE '{}' END AS properties, r.submitted_by, b.created_at, b.started_at, b.finished_at`;
export const BUILD_TABLES = `
  builds b JOIN builders bl ON bl.id = b.builder_id JOIN build_requests r ON r.id = b.request_id
  LEFT JOIN workers w ON w.id = b.worker_id`;

/** Times may be text too: a row that came inside of JSON. */
export function toBuild(row: BuildRow): Build {
  return {
    id: row.id,
    builder: row.builder,
    number: row.number,
    request: row.request,
    attempt: row.attempt,
    state: row.state,
    result: row.result,
    reason: shownReason(row.reason),
    worker: row.worker,
    properties: row.properties,
    submittedBy: row.submitted_by,
    createdAt: iso(row.created_at),
    startedAt: row.started_at && iso(row.started_at),
    finishedAt: row.finished_at && iso(row.finished_at),
  };
}

export interface StepRow {
  index: number;
  name: string;
  kind: Step['kind'];
  state: Step['state'];
  result: Result | null;
  reason: Reason | null;
  exit_code: number | null;
  started_at: Date | null;
  finished_at: Date | null;
  log_bytes: number;
  log_lines: number;
  log_finished: boolean;
  log_removed: boolean;
  log_sha256: Step['log']['sha256'];
}

export const STEPS_OF_BUILD = `
  SELECT s.*, l.build_id IS NOT NULL AS log_removed
  FROM steps s LEFT JOIN sealed_logs l
    ON l.build_id = s.build_id AND l.step = s.index AND l.blob IS NULL AND l.data IS NULL
  WHERE s.build_id = $1 ORDER BY s.index`;

export function toStep(row: StepRow): Step {
  return {
    index: row.index,
    name: row.name,
    kind: row.kind,
    state: row.state,
    result: row.result,
    reason: shownReason(row.reason),
    exitCode: row.exit_code,
    startedAt: row.started_at?.toISOString() ?? null,
    finishedAt: row.finished_at?.toISOString() ?? null,
    log: {
      bytes: row.log_bytes,
      lines: row.log_lines,
      finished: row.log_finished,
      removed: row.log_removed,
      sha256: row.log_sha256,
    },
  };
}

const iso = (time: Date | string) => new Date(time).toISOString();

/** Workers of earlier versions told the address of a source as it was. */
function shownReason(reason: Reason | null): Reason | null {
  return reason && { ...reason, message: cutCredentials(reason.message) };
}
