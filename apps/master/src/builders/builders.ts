import { createHash } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { AppliedFarm, FarmFile, FarmVersion } from '@impgem/client';
import { cutCredentials, cutText, FarmError, hasCredentials, quoted } from '@impgem/kit';
import { type BuilderDefinition, type FileProblem, nameProblem } from '@impgem/pipeline';
import { Audit } from '../access/index.js';
import { Events } from '../events/index.js';
import { Database, nearest, type Tx } from '../platform/index.js';
import { FarmChecker } from './farm-checker.js';

/** A builder that is in force. */
export interface ActiveBuilder {
  id: number;
  name: string;
  farmVersion: number;
  definition: BuilderDefinition;
}

/** Builders whose definition is kept in memory. */
const REMEMBERED = 1000;

/**
 * The farm file and its builders. Each applied text is kept as a version; exactly the builders of the newest
 * version are active. A builder that is taken out keeps its row, its numbers and its builds, and comes back with
 * them. Requests name their builder's version, so what waits or runs is not changed by a new one.
 */
@Injectable()
export class Builders {
  /** As they were read last, by name. */
  readonly #remembered = new Map<string, ActiveBuilder>();

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly audit: Audit,
    private readonly checker: FarmChecker,
  ) {}

  /** What is wrong with a farm file; nothing when it is in order. */
  async lint(source: string): Promise<FileProblem[]> {
    return (await this.checker.read(source)).problems;
  }

  /**
   * Puts a farm file in force, in one transaction. The text that is in force already changes nothing.
   * Throws `invalid-farm-file` with the problems, each with line and column.
   */
  async apply(source: string, actor: string): Promise<AppliedFarm> {
    const { farm, problems } = await this.checker.read(source);
    if (!farm) throw invalid(problems);
    const rows = [...farm.builders].map(([name, definition]) => ({ name, definition }));
    const names = rows.map((builder) => builder.name);
    const sha256 = createHash('sha256').update(source).digest('hex');
    return this.db.transaction(async (tx) => {
      // One at a time, so that the versions have an order and the newest one wins whole.
      await tx.query(`SELECT pg_advisory_xact_lock(hashtext('impgem.farm'))`);
      const [current] = await tx.query<VersionRow>(VERSIONS, [null, 1]);
      if (current?.sha256 === sha256) return { ...toVersion(current), changed: false };
      const [row] = await tx.query<{ version: number; applied_at: Date }>(NEW_VERSION, [
        source,
        sha256,
        actor,
        names,
      ]);
      const { version, applied_at } = row as { version: number; applied_at: Date };
      const [removed] = await tx.query<{ names: string[] }>(RETIRE, [names]);
      await tx.query(UPSERT, [JSON.stringify(rows), version]);
      await tx.query(NUMBERS, [version]);
      const data = { version, sha256, builders: names, removed: removed?.names ?? [] };
      await this.audit.record(tx, actor, 'farm.apply', `farm version ${version}`, data);
      await this.events.append(tx, [{ kind: 'farm.applied', data: { ...data, appliedBy: actor } }]);
      return {
        version,
        appliedAt: applied_at.toISOString(),
        appliedBy: actor,
        sha256,
        builders: names,
        changed: true,
      };
    });
  }

  /** The farm file in force. Throws `not-found` when none was applied yet. */
  async current(): Promise<FarmFile> {
    const [row] = await this.db.query<VersionRow & { source: string }>(CURRENT);
    if (!row)
      throw new FarmError('not-found', 'no farm file was applied yet; PUT one to /api/v1/farm');
    return {
      ...toVersion(row),
      source: (await this.#isOld()) ? cutCredentials(row.source) : row.source,
    };
  }

  /** Whether the file in force was applied before credentials in the address of a source were refused. */
  async #isOld(): Promise<boolean> {
    const rows = await this.db.query<{ git: string }>(SOURCES);
    return rows.some(({ git }) => hasCredentials(git));
  }

  /** Versions below `before`, newest first, up to `limit`. */
  async versions(before: number | null, limit: number): Promise<FarmVersion[]> {
    return (await this.db.query<VersionRow>(VERSIONS, [before, limit])).map(toVersion);
  }

  /** The builder that is in force under this name. Throws `unknown-builder`, naming the nearest. */
  async definition(name: string, tx: Tx = this.db): Promise<ActiveBuilder> {
    // What is no name cannot be looked up either: it may hold a NUL.
    const [row] = nameProblem(name) ? [] : await tx.query<ActiveBuilder>(DEFINITION, [name]);
    return row ?? (await this.unknown(name, tx));
  }

  /**
   * The same, as it was when it was last read here: for who says so in what he writes, and finds out whether it still
   * is in force (see `Queue.submit`); if not, `fresh` reads it again.
   */
  async remembered(name: string, fresh = false): Promise<ActiveBuilder> {
    const known = fresh ? undefined : this.#remembered.get(name);
    if (known) return known;
    this.#remembered.delete(name);
    const builder = await this.definition(name);
    // Those that were taken out of the farm file are let go of with the others.
    if (this.#remembered.size >= REMEMBERED) this.#remembered.clear();
    this.#remembered.set(name, builder);
    return builder;
  }

  /** The id of a builder, also of one that is not in force any more. Throws `unknown-builder`. */
  async idOf(name: string): Promise<number> {
    const [row] = nameProblem(name)
      ? []
      : await this.db.query<{ id: number }>('SELECT id FROM builders WHERE name = $1', [name]);
    return row?.id ?? (await this.unknown(name));
  }

  /** Throws `unknown-builder` for a name, with the nearest that is in force. */
  async unknown(name: string, tx: Tx = this.db): Promise<never> {
    const rows = await tx.query<{ name: string }>('SELECT name FROM builders WHERE active');
    const names = rows.map((row) => row.name);
    const like = nearest(cutText(name, 100), names);
    const hint = like ? `; did you mean ${like}?` : names.length === 0 ? '; the farm has none' : '';
    throw new FarmError('unknown-builder', `there is no builder ${quoted(name, 100)}${hint}`);
  }
}

function invalid(problems: FileProblem[]): FarmError {
  const [first] = problems;
  const place =
    first?.line === undefined ? '' : `line ${first.line}, column ${first.column ?? 1}: `;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  return new FarmError(
    'invalid-farm-file',
    `${place}${first?.path ? `${first.path}: ` : ''}${first?.message ?? ''}${more}`,
    { problems },
  );
}

interface VersionRow {
  version: number;
  sha256: string;
  applied_at: Date;
  applied_by: string;
  builders: string[];
}

function toVersion(row: VersionRow): FarmVersion {
  return {
    version: row.version,
    appliedAt: row.applied_at.toISOString(),
    appliedBy: row.applied_by,
    sha256: row.sha256,
    builders: row.builders,
  };
}

const VERSIONS = `
  SELECT version, sha256, applied_at, applied_by, builders FROM farm_versions
  WHERE $1::int IS NULL OR version < $1 ORDER BY version DESC LIMIT $2`;
const CURRENT = `SELECT * FROM farm_versions ORDER BY version DESC LIMIT 1`;
const SOURCES = `
  SELECT definition #>> '{source,git}' AS git FROM builders WHERE active AND definition ? 'source'`;
const NEW_VERSION = `
  INSERT INTO farm_versions (source, sha256, applied_by, builders) VALUES ($1, $2, $3, $4::text[])
  RETURNING version, applied_at`;
const RETIRE = `
  WITH retired AS (
    UPDATE builders SET active = false WHERE active AND name <> ALL ($1::text[]) RETURNING name)
  SELECT coalesce(array_agg(name ORDER BY name), '{}') AS names FROM retired`;
const UPSERT = `
  WITH given AS (
    INSERT INTO builders (name, definition, farm_version, position)
    SELECT b->>'name', b->'definition', $2::int, n
    FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given(b, n)
    ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, farm_version = excluded.farm_version,
      position = excluded.position, active = true
    RETURNING id, farm_version, definition)
  INSERT INTO builder_versions (builder_id, farm_version, definition) SELECT id, farm_version, definition FROM given`;
const NUMBERS = `
  INSERT INTO builder_numbers (builder_id) SELECT id FROM builders
  WHERE active AND farm_version = $1 ON CONFLICT DO NOTHING`;
const DEFINITION = `
  SELECT id, name, farm_version AS "farmVersion", definition FROM builders WHERE name = $1 AND active`;
