/** A build counts when its rows, its events and its logs are there and right. */
import { createHash } from 'node:crypto';
import type { BenchFarm } from './farm.js';

export interface Expected {
  /** Steps of each build; all of them succeed. */
  steps: number;
  /** Artifacts of each build. */
  artifacts?: number;
  /** What steps print. One that is left out prints nothing: its log begins with its command, and is the farm's own. */
  logs?: Record<number, Log>;
  /** How the logs of those begin. */
  begins?: string;
}

/** SHA-256 of each stream that was written to. */
type Log = { stdout?: string; stderr?: string };
const AT_ONCE = 4;

interface Row {
  request: number;
  build: number | null;
  state: string;
  result: string | null;
  attempts: number;
  steps: number;
  loud: number;
  events: number;
  told: number;
  artifacts: number;
}

/** Throws with the first build that is not as it should be. */
export async function check(
  farm: BenchFarm,
  requests: readonly number[],
  expected: Expected,
): Promise<void> {
  const { rows } = await farm.db.query<Row>(ROWS, [requests]);
  if (rows.length !== requests.length)
    throw new Error(`${requests.length} builds were asked for, ${rows.length} are there`);
  // assigned, started, finished, request finished; each step started and finished
  const events = 4 + 2 * expected.steps;
  const artifacts = expected.artifacts ?? 0;
  const loud = Object.keys(expected.logs ?? {}).length;
  for (const row of rows) {
    const { state, result, attempts, steps } = row;
    if (state !== 'finished' || result !== 'success' || attempts !== 1)
      throw new Error(`not a build that counts: ${JSON.stringify(row)}`);
    if (steps !== expected.steps || row.events !== events || row.loud !== loud)
      throw new Error(
        `${expected.steps} steps, ${loud} of them with output, ${events} events expected: ${JSON.stringify(row)}`,
      );
    // Small ones come many at a time, and are told so.
    if (row.artifacts !== artifacts || row.told > artifacts || row.told < Math.min(1, artifacts))
      throw new Error(`${artifacts} artifacts expected, and told: ${JSON.stringify(row)}`);
  }
  const left = rows.flatMap(({ build }) =>
    Array.from({ length: expected.steps }, (_, step) => ({ build: build ?? 0, step })),
  );
  const lane = async () => {
    for (let next = left.pop(); next; next = left.pop()) {
      const { build, step } = next;
      const log = expected.logs?.[step];
      if (!log) await checkSilent(farm, build, step, expected.begins ?? '$ true\n');
      for (const [stream, sha256] of Object.entries(log ?? {}))
        await checkStream(farm, build, step, stream, sha256);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function checkSilent({ farm }: BenchFarm, build: number, step: number, begins: string) {
  const answer = await farm.fetch('GET', `/builds/${build}/steps/${step}/log`);
  const text = await answer.text();
  const { headers, ok } = answer;
  const whole = headers.get('x-log-complete') === 'true' && text.startsWith(begins);
  if (!ok || !whole || Number(headers.get('x-log-bytes')) !== Buffer.byteLength(text))
    throw new Error(`log of build ${build}, step ${step}: ${answer.status} ${text.slice(0, 500)}`);
}

async function checkStream(
  { farm }: BenchFarm,
  build: number,
  step: number,
  stream: string,
  sha256: string,
): Promise<void> {
  const answer = await farm.fetch('GET', `/builds/${build}/steps/${step}/log?stream=${stream}`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of answer.body ?? []) {
    hash.update(piece as Uint8Array);
    bytes += (piece as Uint8Array).length;
  }
  const found = hash.digest('hex');
  if (!answer.ok || answer.headers.get('x-log-complete') !== 'true' || found !== sha256)
    throw new Error(
      `log of build ${build}, step ${step}, ${stream}: ${answer.status}, ${bytes} bytes, SHA-256 ${found}, not ${sha256}`,
    );
}

const ROWS = `
  SELECT r.id AS request, r.state, r.result, r.attempts, b.id AS build,
         (SELECT count(*) FROM steps s WHERE s.build_id = b.id AND s.state = 'finished'
            AND s.result = 'success' AND s.log_finished AND s.log_sha256 IS NOT NULL)::int AS steps,
         (SELECT count(*) FROM steps s WHERE s.build_id = b.id
            AND s.log_sha256 ?| ARRAY['stdout', 'stderr'])::int AS loud,
         (SELECT count(*) FROM events e
          WHERE e.build_id = b.id AND e.kind <> 'artifact.stored')::int AS events,
         (SELECT count(*) FROM events e
          WHERE e.build_id = b.id AND e.kind = 'artifact.stored')::int AS told,
         (SELECT count(*) FROM artifacts a WHERE a.build_id = b.id)::int AS artifacts
  FROM build_requests r LEFT JOIN builds b ON b.request_id = r.id
  WHERE r.id = ANY($1::bigint[]) AND r.result IS NOT NULL`;
