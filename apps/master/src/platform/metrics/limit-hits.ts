import { Counter } from 'prom-client';

/** Counts refusals, and what was cut off, because a limit was reached. */
export const limitHits = new Counter({
  name: 'impgem_limit_hits_total',
  help: 'Refusals because a limit was reached, by its name in docs/configuration.md',
  labelNames: ['limit'],
});
