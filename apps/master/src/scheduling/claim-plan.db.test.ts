import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Transaction } from '../platform/index.js';
import { claim, type Claimant } from './claim.js';
import { TestFarm } from './testing.js';

/** What PostgreSQL says of one node of a plan that it ran. */
interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Actual Rows': number;
  'Actual Loops': number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  Plans?: PlanNode[];
}

/** Enough that a plan which reads them all would cost more than one by the index; the bench has more. */
const BACKLOG = 20_000;
/** Of them nobody can serve so many. */
const FOR_NOBODY = 18_000;
const LIMIT = 4;
const GROUPS = 50;

let farm: TestFarm;
let worker: Claimant;
beforeAll(async () => {
  farm = await TestFarm.open();
  worker = await farm.worker('busy', ['os=linux', 'arch=amd64']);
  await farm.db.query(
    `WITH b AS (
       INSERT INTO builders (name, definition, farm_version, position) VALUES ('b', '{}', 1, 1) RETURNING *)
     INSERT INTO builder_versions SELECT id, farm_version, definition FROM b`,
  );
  // Half of the groups need a label that nobody has, half can be served by the worker.
  await farm.db.query(
    `INSERT INTO requirement_groups (labels, workers)
     SELECT CASE WHEN g % 2 = 0 THEN ARRAY['gpu', 'rack=' || g] ELSE ARRAY['os=linux'] END, ARRAY['busy', 'w' || g]
     FROM generate_series(1, $1::int) g`,
    [GROUPS],
  );
  await farm.db.query(
    `WITH sides AS (
       SELECT array_agg(id ORDER BY id) FILTER (WHERE 'gpu' = ANY(labels)) AS nobody,
              array_agg(id ORDER BY id) FILTER (WHERE NOT 'gpu' = ANY(labels)) AS served
       FROM requirement_groups)
     INSERT INTO build_requests (builder_id, farm_version, held_back, group_id, properties, rank, submitted_by)
     SELECT 1, 1, CASE WHEN n > $1::int - 1900 THEN '{"another": {"times": 1, "until": 1e11}}'::jsonb END,
            CASE WHEN n <= $2::int THEN nobody[1 + n % cardinality(nobody)] ELSE served[1 + n % cardinality(served)] END,
            '{}', n, 't'
     FROM generate_series(1, $1::int) n CROSS JOIN sides`,
    [BACKLOG, FOR_NOBODY],
  );
  await farm.db.query('ANALYZE build_requests, requirement_groups, builders, builder_versions');
});
afterAll(async () => farm?.close());

/** The plan of the statement that picks, as it ran; nothing is claimed. */
async function planOfPick(): Promise<PlanNode> {
  let plan: PlanNode | undefined;
  const undo = new Error('undo');
  await farm.db
    .transaction(async (tx) => {
      const explaining: Pick<Transaction, 'query' | 'send'> = {
        send: (sql, params) => tx.send(sql, params),
        async query<Row extends object>(sql: string, params?: readonly unknown[]) {
          const explain = `EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ${sql}`;
          const [row] = await tx.query<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(explain, params);
          plan ??= row?.['QUERY PLAN'][0]?.Plan;
          return [] as Row[];
        },
      };
      await claim(
        Object.assign(Object.create(tx) as typeof tx, explaining),
        farm.events,
        worker,
        LIMIT,
      );
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  if (!plan) throw new Error('nothing was picked');
  return plan;
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];
const rowsOf = (node: PlanNode): number =>
  (node['Actual Rows'] +
    (node['Rows Removed by Filter'] ?? 0) +
    (node['Rows Removed by Index Recheck'] ?? 0)) *
  node['Actual Loops'];

describe('a claim with thousands of requests waiting', () => {
  it('reads no more of the backlog than it may take from each group that it can serve', async () => {
    const nodes = nodesOf(await planOfPick());
    const backlog = nodes.filter((node) => node['Relation Name'] === 'build_requests');
    const reading = backlog.filter((node) => node['Node Type'] !== 'ModifyTable');
    expect(reading.length).toBeGreaterThan(1);
    for (const node of reading)
      expect([node['Node Type'], node['Index Name']]).toEqual([
        expect.stringMatching(/^Index (Only )?Scan$/),
        expect.stringMatching(/^build_requests_(queue|pkey|held_back)$/),
      ]);
    // By group up to the limit, and each that was picked once more to be updated; besides, one of those that another
    // worker gave back.
    const most = (GROUPS / 2) * LIMIT;
    const [held, others] = [true, false].map((held) =>
      reading
        .filter((node) => (node['Index Name'] === 'build_requests_held_back') === held)
        .reduce((sum, node) => sum + rowsOf(node), 0),
    );
    expect(others).toBeLessThanOrEqual(most + LIMIT);
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(GROUPS / 2);
    const sorts = nodes.filter((node) => /Sort/.test(node['Node Type']));
    for (const sort of sorts) expect(rowsOf(sort)).toBeLessThanOrEqual(most);
    // What is found is what the update takes.
    const update = backlog.find((node) => node['Node Type'] === 'ModifyTable');
    expect(update?.['Actual Rows']).toBe(LIMIT);
  });
});
