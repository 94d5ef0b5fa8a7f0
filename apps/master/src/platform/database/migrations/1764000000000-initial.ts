import type { QueryRunner } from 'typeorm';
import { ForwardOnly } from './forward-only.js';

/**
 * The first schema. Hot tables (`leases`, `build_requests`, `log_chunks`, `events`) are written by hand-made SQL;
 * the others through TypeORM. Results and states are checked here too, so that no program can write another.
 */
export class Initial1764000000000 extends ForwardOnly {
  name = 'Initial1764000000000';

  async up(query: QueryRunner): Promise<void> {
    for (const statement of [...ACCESS, ...FARM, ...QUEUE, ...BUILDS, ...EVENTS])
      await query.query(statement);
  }
}

const RESULT = `text CHECK (%s IN ('cancelled','retry','exception','failure','warnings','success','skipped'))`;
const result = (column = 'result') => `${column} ${RESULT.replace('%s', column)}`;

const ACCESS = [
  `CREATE TABLE farm (
     one boolean PRIMARY KEY DEFAULT true CHECK (one),
     id uuid NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now())`,
  `CREATE TABLE api_tokens (
     id text PRIMARY KEY,
     name text NOT NULL,
     scopes text[] NOT NULL,
     secret_hash bytea NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     created_by text NOT NULL,
     expires_at timestamptz,
     last_used_at timestamptz,
     revoked_at timestamptz)`,
  `CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL`,
  `CREATE TABLE sessions (
     id_hash bytea PRIMARY KEY,
     token_id text NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
     csrf text NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     expires_at timestamptz NOT NULL)`,
  `CREATE TABLE registration_tokens (
     id text PRIMARY KEY,
     secret_hash bytea NOT NULL,
     uses_left int NOT NULL CHECK (uses_left >= 0),
     labels text[],
     created_at timestamptz NOT NULL DEFAULT now(),
     created_by text NOT NULL,
     expires_at timestamptz NOT NULL,
     revoked_at timestamptz)`,
  `CREATE TABLE workers (
     id uuid PRIMARY KEY,
     name text NOT NULL,
     secret_hash bytea NOT NULL,
     labels text[] NOT NULL DEFAULT '{}',
     allowed_labels text[],
     executor text,
     slots int NOT NULL DEFAULT 0,
     version text,
     platform jsonb,
     disk_free bigint,
     draining boolean NOT NULL DEFAULT false,
     registered_at timestamptz NOT NULL DEFAULT now(),
     registered_with text REFERENCES registration_tokens,
     connected_at timestamptz,
     disconnected_at timestamptz,
     last_seen_at timestamptz,
     revoked_at timestamptz)`,
  `CREATE UNIQUE INDEX workers_name ON workers (name) WHERE revoked_at IS NULL`,
  `CREATE TABLE audit (
     id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     at timestamptz NOT NULL DEFAULT now(),
     actor text NOT NULL,
     action text NOT NULL,
     target text NOT NULL,
     detail jsonb NOT NULL DEFAULT '{}')`,
];

const FARM = [
  `CREATE TABLE farm_versions (
     version int PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     source text NOT NULL,
     sha256 text NOT NULL,
     applied_at timestamptz NOT NULL DEFAULT now(),
     applied_by text NOT NULL,
     -- Names, in the order of the file.
     builders text[] NOT NULL)`,
  `CREATE TABLE builders (
     id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     name text NOT NULL UNIQUE,
     definition jsonb NOT NULL,
     farm_version int NOT NULL REFERENCES farm_versions,
     position int NOT NULL,
     active boolean NOT NULL DEFAULT true)`,
  // Apart from `builders`, since it is written at each hand-out.
  `CREATE TABLE builder_numbers (
     builder_id int PRIMARY KEY REFERENCES builders,
     last_number int NOT NULL DEFAULT 0) WITH (fillfactor = 20)`,
];

const QUEUE = [
  // Requests with the same needs: a claim looks only at the groups that a worker can serve.
  `CREATE TABLE requirement_groups (
     id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     labels text[] NOT NULL,
     workers text[] NOT NULL DEFAULT '{}',
     UNIQUE (labels, workers))`,
  `CREATE TABLE build_requests (
     id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     builder_id int NOT NULL REFERENCES builders,
     farm_version int NOT NULL REFERENCES farm_versions,
     definition jsonb NOT NULL,
     group_id int NOT NULL REFERENCES requirement_groups,
     properties jsonb NOT NULL,
     reason text,
     priority int NOT NULL DEFAULT 0,
     rank bigint NOT NULL,
     state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending','claimed','finished')),
     ${result()},
     attempts int NOT NULL DEFAULT 0,
     epoch int NOT NULL DEFAULT 0,
     submitted_at timestamptz NOT NULL DEFAULT now(),
     submitted_by text NOT NULL,
     finished_at timestamptz) WITH (fillfactor = 80)`,
  `CREATE INDEX build_requests_queue ON build_requests (group_id, rank, id) WHERE state = 'pending'`,
  `CREATE INDEX build_requests_open ON build_requests (builder_id) WHERE state <> 'finished'`,
];

const BUILDS = [
  `CREATE TABLE builds (
     id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     builder_id int NOT NULL REFERENCES builders,
     number int NOT NULL,
     request_id bigint NOT NULL REFERENCES build_requests,
     attempt int NOT NULL,
     epoch int NOT NULL,
     worker_id uuid REFERENCES workers,
     state text NOT NULL DEFAULT 'running' CHECK (state IN ('running','cancelling','finished')),
     ${result()},
     reason jsonb,
     plan jsonb NOT NULL,
     properties jsonb NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     started_at timestamptz,
     finished_at timestamptz,
     UNIQUE (builder_id, number),
     UNIQUE (request_id, epoch)) WITH (fillfactor = 80)`,
  // One row for each build that is handed out and not finished: who holds it, and how much of its journal is in.
  `CREATE TABLE leases (
     build_id bigint PRIMARY KEY REFERENCES builds,
     request_id bigint NOT NULL UNIQUE REFERENCES build_requests,
     worker_id uuid NOT NULL REFERENCES workers,
     epoch int NOT NULL,
     seq bigint NOT NULL DEFAULT 0,
     cancel jsonb,
     -- Given up, and kept until another worker claims the request: its worker may come back for it.
     lost_at timestamptz,
     granted_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 50)`,
  `CREATE INDEX leases_worker ON leases (worker_id)`,
  `CREATE TABLE steps (
     build_id bigint NOT NULL REFERENCES builds,
     index int NOT NULL,
     name text NOT NULL,
     kind text NOT NULL CHECK (kind IN ('checkout','run','artifacts')),
     state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending','running','finished')),
     ${result()},
     reason jsonb,
     exit_code int,
     started_at timestamptz,
     finished_at timestamptz,
     log_bytes bigint NOT NULL DEFAULT 0,
     log_lines bigint NOT NULL DEFAULT 0,
     log_finished boolean NOT NULL DEFAULT false,
     log_sha256 jsonb,
     PRIMARY KEY (build_id, index)) WITH (fillfactor = 60)`,
  `CREATE TABLE log_chunks (
     build_id bigint NOT NULL,
     step int NOT NULL,
     byte_offset bigint NOT NULL,
     seq bigint NOT NULL,
     stream smallint NOT NULL,
     length int NOT NULL,
     first_line bigint NOT NULL,
     at timestamptz NOT NULL,
     crc32 bigint NOT NULL,
     data bytea NOT NULL,
     PRIMARY KEY (build_id, step, byte_offset))`,
  // Compressed already: Postgres shall not try again.
  `ALTER TABLE log_chunks ALTER COLUMN data SET STORAGE EXTERNAL`,
  `CREATE TABLE artifacts (
     id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     build_id bigint NOT NULL REFERENCES builds,
     number int NOT NULL,
     path text NOT NULL,
     size bigint NOT NULL,
     sha256 text NOT NULL,
     mode int NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     UNIQUE (build_id, number),
     UNIQUE (build_id, path))`,
];

const EVENTS = [
  // The outbox. A sequence is not a commit order: readers take rows below
  // pg_snapshot_xmin(pg_current_snapshot()), ordered by (xid, id).
  `CREATE TABLE events (
     id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
     xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
     at timestamptz NOT NULL DEFAULT now(),
     kind text NOT NULL,
     builder text,
     build_id bigint,
     request_id bigint,
     worker text,
     data jsonb NOT NULL DEFAULT '{}')`,
  `CREATE INDEX events_order ON events (xid, id)`,
  `CREATE INDEX events_build ON events (build_id, xid, id) WHERE build_id IS NOT NULL`,
];
