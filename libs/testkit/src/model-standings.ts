/** How long a worker of the model is given nothing, and a request is not given to it; see `model-database.ts`. */
import { EARLY_MS, HOLD_BACK_MS, nthOf, PAUSES_MS, type Mark } from '@impgem/protocol';
import type { ModelBuild, ModelRequest } from './model-rows.js';

/** What a worker's last strikes in a row came to. */
export interface ModelStanding {
  strikes: number;
  until: number;
}

/** What the end of an attempt says of its worker. */
export interface ModelMark {
  build: ModelBuild;
  mark: Mark | null;
}

/** Applies what the attempts say that ended in one transaction. */
export function judge(
  standings: Map<string, ModelStanding>,
  marks: readonly ModelMark[],
  now: number,
): void {
  const good = new Set(marks.flatMap(({ build, mark }) => (mark === 'good' ? build.worker : [])));
  for (const worker of good) standings.delete(worker);
  for (const { build, mark } of marks) {
    const { worker, createdAt } = build;
    const bad = mark === 'bad' || (mark === 'bad-if-early' && createdAt > now - EARLY_MS);
    const { strikes = 0, until = 0 } = standings.get(worker) ?? {};
    if (!bad || good.has(worker) || createdAt < until) continue;
    standings.set(worker, { strikes: strikes + 1, until: now + nthOf(PAUSES_MS, strikes + 1) });
  }
}

/** The request came back from the worker: for a while others are to have it. */
export function holdBack({ heldBack }: ModelRequest, worker: string, now: number): void {
  const times = (heldBack.get(worker)?.times ?? 0) + 1;
  heldBack.set(worker, { times, until: now + nthOf(HOLD_BACK_MS, times) });
}
