/**
 * `npm run raw-bytes -- [--runs N] [--seed S]`: sends bytes by a grammar and at random to a built master, plain and over TLS,
 * half of the runs each. Ends with 1 when its process ended, or kept what it had opened.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeCertificates } from '../certificates.js';
import { startFarm } from '../farm.js';
import { surviveRaw } from './send-raw.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Math.floor(Date.now() / 1000) % 1_000_000) },
  },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
if (!Number.isSafeInteger(runs) || !Number.isSafeInteger(seed)) {
  process.stderr.write('--runs and --seed are whole numbers\n');
  process.exit(2);
}
const dir = await mkdtemp(join(tmpdir(), 'impgem-raw-'));
const { cert, key } = await makeCertificates(dir, ['IP:127.0.0.1']);
try {
  for (const [name, masterEnv] of [
    ['plain', {}],
    ['TLS', { IMPGEM_TLS_CERT: cert, IMPGEM_TLS_KEY: key }],
  ] as const) {
    process.stdout.write(`── ${name}: ${Math.ceil(runs / 2)} runs, seed ${seed} ──\n`);
    const farm = await startFarm({ executor: 'host', workers: 0, masterEnv });
    try {
      const report = await surviveRaw(farm, { runs: Math.ceil(runs / 2), seed });
      process.stdout.write(`${JSON.stringify(report)}\n`);
    } finally {
      await farm.stop();
    }
  }
} catch (error) {
  process.stdout.write(`FAILED (seed ${seed}): ${(error as Error).message}\n`);
  process.exitCode = 1;
} finally {
  await rm(dir, { recursive: true, force: true });
}
