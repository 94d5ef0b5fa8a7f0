import { withoutCredentials } from '@impgem/kit';
import { Injectable } from '@nestjs/common';
import type { Builder, Page } from '@impgem/client';
import type { BuilderDefinition } from '@impgem/pipeline';
import { Builders } from '../builders/index.js';
import { Database, pageOf, type PageQuery } from '../platform/index.js';
import { BUILD_COLUMNS, BUILD_TABLES, type BuildRow, toBuild } from './build-rows.js';
import { cursor } from './conditions.js';

/** The builders in force with what their builds say of them. */
@Injectable()
export class BuilderList {
  constructor(
    private readonly db: Database,
    private readonly builders: Builders,
  ) {}

  /** In the order of the farm file. */
  async list({ after, limit }: PageQuery): Promise<Page<Builder>> {
    const rows = await this.db.query<BuilderRow>(LIST, [
      cursor(after, 'number') ?? 0,
      limit + 1,
      null,
    ]);
    const { items, next } = pageOf(rows, limit, ({ position }) => String(position));
    return { items: items.map(toBuilder), next };
  }

  /** Throws `unknown-builder`, naming the nearest. */
  async get(name: string): Promise<Builder> {
    const { id } = await this.builders.definition(name);
    const [row] = await this.db.query<BuilderRow>(LIST, [0, 1, id]);
    return row ? toBuilder(row) : this.builders.unknown(name);
  }
}

interface BuilderRow {
  name: string;
  position: number;
  definition: BuilderDefinition;
  farm_version: number;
  last_build: BuildRow | null;
  pending: number;
  running: number;
}

function toBuilder({ name, definition, ...row }: BuilderRow): Builder {
  const { description, image, source, labels } = definition;
  return {
    name,
    description: description ?? null,
    labels,
    image: image ?? null,
    source: source ? { git: withoutCredentials(source.git), ref: source.ref ?? null } : null,
    properties: Object.fromEntries(
      Object.entries(definition.properties).map(([key, property]) => [
        key,
        {
          description: property.description ?? null,
          default: property.default ?? null,
          required: property.required,
          choices: property.choices ?? null,
        },
      ]),
    ),
    steps: outline(definition),
    farmVersion: row.farm_version,
    lastBuild: row.last_build && toBuild(row.last_build),
    pending: row.pending,
    running: row.running,
  };
}

/** The steps that a build has: those of the file, and those that the farm adds. */
function outline({ source, steps, artifacts }: BuilderDefinition): Builder['steps'] {
  return [
    ...(source ? [{ name: 'checkout', kind: 'checkout' }] : []),
    ...steps.map(({ name }) => ({ name, kind: 'run' })),
    ...(artifacts.length > 0 ? [{ name: 'artifacts', kind: 'artifacts' }] : []),
  ];
}

// One statement for the page: the last build by its index, what waits and runs counted once for all.
const LIST = `
  WITH page AS (
    SELECT id, name, position, definition, farm_version FROM builders
    WHERE active AND position > $1 AND ($3::int IS NULL OR id = $3) ORDER BY position LIMIT $2
  ), waiting AS (
    SELECT builder_id, count(*)::int AS n FROM build_requests
    WHERE state = 'pending' AND builder_id IN (SELECT id FROM page) GROUP BY builder_id
  ), running AS (
    SELECT b.builder_id, count(*)::int AS n FROM leases l JOIN builds b ON b.id = l.build_id
    WHERE b.state <> 'finished' GROUP BY b.builder_id)
  SELECT page.name, page.position, page.definition, page.farm_version, to_jsonb(last) AS last_build,
         coalesce(waiting.n, 0) AS pending, coalesce(running.n, 0) AS running
  FROM page
  LEFT JOIN LATERAL (
    SELECT ${BUILD_COLUMNS} FROM ${BUILD_TABLES}
    WHERE b.builder_id = page.id ORDER BY b.number DESC LIMIT 1) last ON true
  LEFT JOIN waiting ON waiting.builder_id = page.id
  LEFT JOIN running ON running.builder_id = page.id
  ORDER BY page.position`;
