-- What the migrations add up to; written by tools/schema.mjs, compared by a test. Not to be run.

CREATE TABLE api_tokens (
  id text NOT NULL,
  name text NOT NULL,
  scopes text[] NOT NULL,
  secret_hash bytea NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  created_by text NOT NULL,
  expires_at timestamp with time zone,
  last_used_at timestamp with time zone,
  revoked_at timestamp with time zone,
  CONSTRAINT api_tokens_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX api_tokens_name ON public.api_tokens USING btree (name) WHERE (revoked_at IS NULL);

CREATE TABLE artifacts (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  build_id bigint NOT NULL,
  number integer NOT NULL,
  path text NOT NULL,
  size bigint NOT NULL,
  sha256 text NOT NULL,
  mode integer NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT artifacts_pkey PRIMARY KEY (id),
  CONSTRAINT artifacts_build_id_fkey FOREIGN KEY (build_id) REFERENCES builds(id),
  CONSTRAINT artifacts_build_id_number_key UNIQUE (build_id, number),
  CONSTRAINT artifacts_build_id_path_key UNIQUE (build_id, path)
);
CREATE INDEX artifacts_sha256 ON public.artifacts USING btree (sha256);

CREATE TABLE audit (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  at timestamp with time zone NOT NULL DEFAULT now(),
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  detail jsonb NOT NULL DEFAULT '{}'::jsonb,
  CONSTRAINT audit_pkey PRIMARY KEY (id)
);

CREATE TABLE build_requests (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  builder_id integer NOT NULL,
  farm_version integer NOT NULL,
  group_id integer NOT NULL,
  properties jsonb NOT NULL,
  reason text,
  priority integer NOT NULL DEFAULT 0,
  rank bigint NOT NULL,
  state text NOT NULL DEFAULT 'pending'::text,
  result text,
  attempts integer NOT NULL DEFAULT 0,
  epoch integer NOT NULL DEFAULT 0,
  submitted_at timestamp with time zone NOT NULL DEFAULT now(),
  submitted_by text NOT NULL,
  finished_at timestamp with time zone,
  failures integer NOT NULL DEFAULT 0,
  retry_infrastructure integer NOT NULL DEFAULT 2,
  retry_failure integer NOT NULL DEFAULT 0,
  lost_after_ms bigint,
  refusals integer NOT NULL DEFAULT 0,
  held_back jsonb,
  CONSTRAINT build_requests_pkey PRIMARY KEY (id),
  CONSTRAINT build_requests_result_check CHECK ((result = ANY (ARRAY['cancelled'::text, 'retry'::text, 'exception'::text, 'failure'::text, 'warnings'::text, 'success'::text, 'skipped'::text]))),
  CONSTRAINT build_requests_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'claimed'::text, 'finished'::text]))),
  CONSTRAINT build_requests_builder_id_farm_version_fkey FOREIGN KEY (builder_id, farm_version) REFERENCES builder_versions(builder_id, farm_version),
  CONSTRAINT build_requests_group_id_fkey FOREIGN KEY (group_id) REFERENCES requirement_groups(id)
) WITH (fillfactor=80);
CREATE INDEX build_requests_held_back ON public.build_requests USING btree (group_id, id) WHERE ((state = 'pending'::text) AND (held_back IS NOT NULL));
CREATE INDEX build_requests_open ON public.build_requests USING btree (builder_id) WHERE (state <> 'finished'::text);
CREATE INDEX build_requests_queue ON public.build_requests USING btree (group_id, rank, id) WHERE (state = 'pending'::text);
CREATE INDEX build_requests_unbuilt ON public.build_requests USING btree (builder_id, id) WHERE ((state = 'finished'::text) AND (attempts = 0));

CREATE TABLE builder_numbers (
  builder_id integer NOT NULL,
  last_number integer NOT NULL DEFAULT 0,
  CONSTRAINT builder_numbers_pkey PRIMARY KEY (builder_id),
  CONSTRAINT builder_numbers_builder_id_fkey FOREIGN KEY (builder_id) REFERENCES builders(id)
) WITH (fillfactor=20);

CREATE TABLE builder_versions (
  builder_id integer NOT NULL,
  farm_version integer NOT NULL,
  definition jsonb NOT NULL,
  CONSTRAINT builder_versions_pkey PRIMARY KEY (builder_id, farm_version),
  CONSTRAINT builder_versions_builder_id_fkey FOREIGN KEY (builder_id) REFERENCES builders(id),
  CONSTRAINT builder_versions_farm_version_fkey FOREIGN KEY (farm_version) REFERENCES farm_versions(version)
);

CREATE TABLE builders (
  id integer NOT NULL GENERATED ALWAYS AS IDENTITY,
  name text NOT NULL,
  definition jsonb NOT NULL,
  farm_version integer NOT NULL,
  "position" integer NOT NULL,
  active boolean NOT NULL DEFAULT true,
  CONSTRAINT builders_pkey PRIMARY KEY (id),
  CONSTRAINT builders_farm_version_fkey FOREIGN KEY (farm_version) REFERENCES farm_versions(version),
  CONSTRAINT builders_name_key UNIQUE (name)
);

CREATE TABLE builds (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  builder_id integer NOT NULL,
  number integer NOT NULL,
  request_id bigint NOT NULL,
  attempt integer NOT NULL,
  epoch integer NOT NULL,
  worker_id uuid,
  state text NOT NULL DEFAULT 'running'::text,
  result text,
  reason jsonb,
  plan jsonb NOT NULL,
  properties jsonb NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  CONSTRAINT builds_pkey PRIMARY KEY (id),
  CONSTRAINT builds_result_check CHECK ((result = ANY (ARRAY['cancelled'::text, 'retry'::text, 'exception'::text, 'failure'::text, 'warnings'::text, 'success'::text, 'skipped'::text]))),
  CONSTRAINT builds_state_check CHECK ((state = ANY (ARRAY['running'::text, 'cancelling'::text, 'finished'::text]))),
  CONSTRAINT builds_builder_id_fkey FOREIGN KEY (builder_id) REFERENCES builders(id),
  CONSTRAINT builds_request_id_fkey FOREIGN KEY (request_id) REFERENCES build_requests(id),
  CONSTRAINT builds_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES workers(id),
  CONSTRAINT builds_builder_id_number_key UNIQUE (builder_id, number),
  CONSTRAINT builds_request_id_epoch_key UNIQUE (request_id, epoch)
) WITH (fillfactor=80);

CREATE TABLE events (
  id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  at timestamp with time zone NOT NULL DEFAULT now(),
  kind text NOT NULL,
  builder text,
  build_id bigint,
  request_id bigint,
  worker text,
  data jsonb NOT NULL DEFAULT '{}'::jsonb,
  CONSTRAINT events_pkey PRIMARY KEY (id)
);
CREATE INDEX events_build ON public.events USING btree (build_id, xid, id) WHERE (build_id IS NOT NULL);
CREATE INDEX events_order ON public.events USING btree (xid, id);
CREATE INDEX events_request ON public.events USING btree (request_id) WHERE ((build_id IS NULL) AND (request_id IS NOT NULL));

CREATE TABLE farm (
  one boolean NOT NULL DEFAULT true,
  id uuid NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT farm_pkey PRIMARY KEY (one),
  CONSTRAINT farm_one_check CHECK (one)
);

CREATE TABLE farm_versions (
  version integer NOT NULL GENERATED ALWAYS AS IDENTITY,
  source text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamp with time zone NOT NULL DEFAULT now(),
  applied_by text NOT NULL,
  builders text[] NOT NULL,
  CONSTRAINT farm_versions_pkey PRIMARY KEY (version)
);

CREATE TABLE leases (
  build_id bigint NOT NULL,
  request_id bigint NOT NULL,
  worker_id uuid NOT NULL,
  epoch integer NOT NULL,
  seq bigint NOT NULL DEFAULT 0,
  cancel jsonb,
  lost_at timestamp with time zone,
  granted_at timestamp with time zone NOT NULL DEFAULT now(),
  due_at timestamp with time zone,
  events integer NOT NULL DEFAULT 0,
  properties integer NOT NULL DEFAULT 0,
  property_bytes integer NOT NULL DEFAULT 0,
  log_stored bigint NOT NULL DEFAULT 0,
  CONSTRAINT leases_pkey PRIMARY KEY (build_id),
  CONSTRAINT leases_build_id_fkey FOREIGN KEY (build_id) REFERENCES builds(id),
  CONSTRAINT leases_request_id_fkey FOREIGN KEY (request_id) REFERENCES build_requests(id),
  CONSTRAINT leases_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES workers(id),
  CONSTRAINT leases_request_id_key UNIQUE (request_id)
) WITH (fillfactor=50);
CREATE INDEX leases_worker ON public.leases USING btree (worker_id);

CREATE TABLE log_chunks (
  build_id bigint NOT NULL,
  step integer NOT NULL,
  byte_offset bigint NOT NULL,
  seq bigint NOT NULL,
  stream smallint NOT NULL,
  length integer NOT NULL,
  first_line bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  crc32 bigint NOT NULL,
  data bytea STORAGE EXTERNAL NOT NULL,
  day date NOT NULL DEFAULT ((now() AT TIME ZONE 'utc'::text))::date,
  CONSTRAINT log_chunks_pkey PRIMARY KEY (build_id, step, byte_offset, day)
) PARTITION BY RANGE (day);

CREATE TABLE log_sealing (
  one boolean NOT NULL DEFAULT true,
  xid xid8 NOT NULL DEFAULT '0'::xid8,
  id bigint NOT NULL DEFAULT 0,
  holder uuid NOT NULL,
  held_until timestamp with time zone NOT NULL,
  CONSTRAINT log_sealing_pkey PRIMARY KEY (one),
  CONSTRAINT log_sealing_one_check CHECK (one)
);

CREATE TABLE log_sealing_later (
  build_id bigint NOT NULL,
  not_before timestamp with time zone NOT NULL,
  failures integer NOT NULL DEFAULT 0,
  problem text,
  CONSTRAINT log_sealing_later_pkey PRIMARY KEY (build_id)
);

CREATE TABLE migrations (
  id integer NOT NULL DEFAULT nextval('migrations_id_seq'::regclass),
  "timestamp" bigint NOT NULL,
  name character varying NOT NULL,
  CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id)
);

CREATE TABLE registration_tokens (
  id text NOT NULL,
  secret_hash bytea NOT NULL,
  uses_left integer NOT NULL,
  labels text[],
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  created_by text NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  revoked_at timestamp with time zone,
  names text[],
  CONSTRAINT registration_tokens_pkey PRIMARY KEY (id),
  CONSTRAINT registration_tokens_uses_left_check CHECK ((uses_left >= 0))
);

CREATE TABLE requirement_groups (
  id integer NOT NULL GENERATED ALWAYS AS IDENTITY,
  labels text[] NOT NULL,
  workers text[] NOT NULL DEFAULT '{}'::text[],
  CONSTRAINT requirement_groups_pkey PRIMARY KEY (id),
  CONSTRAINT requirement_groups_labels_workers_key UNIQUE (labels, workers)
);

CREATE TABLE retention_marks (
  builder_id integer NOT NULL,
  logs_through integer NOT NULL DEFAULT 0,
  artifacts_through integer NOT NULL DEFAULT 0,
  CONSTRAINT retention_marks_pkey PRIMARY KEY (builder_id),
  CONSTRAINT retention_marks_builder_id_fkey FOREIGN KEY (builder_id) REFERENCES builders(id)
);

CREATE TABLE sealed_logs (
  build_id bigint NOT NULL,
  step integer NOT NULL,
  blob text,
  size bigint NOT NULL,
  data bytea STORAGE EXTERNAL,
  sealed_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT sealed_logs_pkey PRIMARY KEY (build_id, step),
  CONSTRAINT sealed_logs_check CHECK ((num_nonnulls(blob, data) <= 1))
);
CREATE INDEX sealed_logs_blob ON public.sealed_logs USING btree (blob) WHERE (blob IS NOT NULL);

CREATE TABLE sessions (
  id_hash bytea NOT NULL,
  token_id text NOT NULL,
  csrf text NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  expires_at timestamp with time zone NOT NULL,
  CONSTRAINT sessions_pkey PRIMARY KEY (id_hash),
  CONSTRAINT sessions_token_id_fkey FOREIGN KEY (token_id) REFERENCES api_tokens(id) ON DELETE CASCADE
);

CREATE TABLE small_blobs (
  sha256 text NOT NULL,
  data bytea STORAGE EXTERNAL NOT NULL,
  CONSTRAINT small_blobs_pkey PRIMARY KEY (sha256)
);

CREATE TABLE steps (
  build_id bigint NOT NULL,
  index integer NOT NULL,
  name text NOT NULL,
  kind text NOT NULL,
  state text NOT NULL DEFAULT 'pending'::text,
  result text,
  reason jsonb,
  exit_code integer,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  log_bytes bigint NOT NULL DEFAULT 0,
  log_lines bigint NOT NULL DEFAULT 0,
  log_finished boolean NOT NULL DEFAULT false,
  log_sha256 jsonb,
  CONSTRAINT steps_pkey PRIMARY KEY (build_id, index),
  CONSTRAINT steps_kind_check CHECK ((kind = ANY (ARRAY['checkout'::text, 'run'::text, 'artifacts'::text]))),
  CONSTRAINT steps_result_check CHECK ((result = ANY (ARRAY['cancelled'::text, 'retry'::text, 'exception'::text, 'failure'::text, 'warnings'::text, 'success'::text, 'skipped'::text]))),
  CONSTRAINT steps_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'running'::text, 'finished'::text]))),
  CONSTRAINT steps_build_id_fkey FOREIGN KEY (build_id) REFERENCES builds(id)
) WITH (fillfactor=60);

CREATE TABLE worker_standings (
  worker_id uuid NOT NULL,
  strikes integer NOT NULL,
  until timestamp with time zone NOT NULL,
  reason jsonb,
  CONSTRAINT worker_standings_pkey PRIMARY KEY (worker_id),
  CONSTRAINT worker_standings_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES workers(id)
) WITH (fillfactor=50);

CREATE TABLE workers (
  id uuid NOT NULL,
  name text NOT NULL,
  secret_hash bytea NOT NULL,
  labels text[] NOT NULL DEFAULT '{}'::text[],
  allowed_labels text[],
  executor text,
  slots integer NOT NULL DEFAULT 0,
  version text,
  platform jsonb,
  disk_free bigint,
  draining boolean NOT NULL DEFAULT false,
  registered_at timestamp with time zone NOT NULL DEFAULT now(),
  registered_with text,
  connected_at timestamp with time zone,
  disconnected_at timestamp with time zone,
  last_seen_at timestamp with time zone,
  revoked_at timestamp with time zone,
  inodes_free bigint,
  engine_disk_free bigint,
  engine_inodes_free bigint,
  low_disk text,
  spooled bigint,
  refused_labels text[] NOT NULL DEFAULT '{}'::text[],
  CONSTRAINT workers_pkey PRIMARY KEY (id),
  CONSTRAINT workers_registered_with_fkey FOREIGN KEY (registered_with) REFERENCES registration_tokens(id)
);
CREATE UNIQUE INDEX workers_name ON public.workers USING btree (name) WHERE (revoked_at IS NULL);
