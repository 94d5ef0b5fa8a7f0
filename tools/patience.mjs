// How slow this machine is, measured: the one number by which the tests' budgets, limits and waits are multiplied.
// 1 is an ordinary machine (two processors of 2020 or newer with nothing else to do); faster ones count as 1, too.
// Whoever runs tests takes it from here once and passes it on in IMPGEM_TEST_PATIENCE; set by hand, it is not measured.
// Under Jest, `patient` and `eventually` of libs/testkit read it.
import { createHash } from 'node:crypto';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

export const PATIENCE = 'IMPGEM_TEST_PATIENCE';

/** As many at once as an ordinary machine has processors. */
const THREADS = 2;
const ROUNDS = 400;
/** What all rounds take on an ordinary machine: measured with nothing else running. */
const ORDINARY_MS = 800;

/** Objects, text, sorting and hashing: what the tests' processors mostly do. */
function work(rounds) {
  let text = 'imp';
  for (let round = 0; round < rounds; round++) {
    const rows = Array.from({ length: 2_000 }, (_, i) => ({ id: (i * 7919) % 2003, text }));
    rows.sort((a, b) => a.id - b.id);
    text = createHash('sha256')
      .update(JSON.stringify(JSON.parse(JSON.stringify(rows))))
      .digest('hex');
  }
}

/** Does `share` of the work and tells how many times slower than an ordinary machine this one is; at least 1. */
export async function measurePatience(share = 1) {
  const rounds = Math.ceil(ROUNDS * share);
  const began = performance.now();
  const ended = Array.from({ length: THREADS }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { rounds } });
    return new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  });
  await Promise.all(ended);
  const slower = (performance.now() - began) / (ORDINARY_MS * (rounds / ROUNDS));
  return Math.max(1, Math.round(slower * 10) / 10);
}

/** The factor that somebody has set or measured before; measured now, and passed on, when nobody has. */
export async function patience(share) {
  const given = Number(process.env[PATIENCE]);
  const factor = given >= 1 ? given : await measurePatience(share);
  process.env[PATIENCE] = String(factor);
  return factor;
}

if (!isMainThread && workerData?.rounds) work(workerData.rounds);
