/** Why an artifact is not taken, in words and in figures. */
import { FarmError, quotedPath } from '@impgem/kit';
import { Counter, Gauge } from 'prom-client';
import { logger } from '../platform/index.js';

const log = logger('artifacts');

type Why = 'path' | 'size' | 'total' | 'count' | 'offers' | 'memory' | 'room' | 'content';

export function refused(path: string, why: string, kind: Why, cause?: unknown): FarmError {
  refusals.inc({ why: kind });
  return new FarmError('artifact-refused', `${quotedPath(path)}: ${why}`, {}, { cause });
}

export function unstorable(path: string, error: unknown): FarmError {
  log.error({ err: error, path }, 'an artifact cannot be stored');
  const code = (error as NodeJS.ErrnoException).code ?? 'error';
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    refusals.inc({ why: 'room' });
    const text = `${quotedPath(path)}: the disk of the master is full`;
    return new FarmError('storage-full', text, {}, { cause: error });
  }
  return refused(path, `the master cannot store it (${code})`, 'room', error);
}

export const refusals = new Counter({
  name: 'impgem_artifacts_refused_total',
  help: 'Artifacts that were not taken, by the bound or check that they broke',
  labelNames: ['why'],
});
export const onTheirWay = new Gauge({
  name: 'impgem_artifacts_on_their_way',
  help: 'Artifacts and packs that were offered and are not stored yet',
});
export const claimed = new Gauge({
  name: 'impgem_artifacts_claimed_bytes',
  help: 'Bytes of the disk that artifacts on their way hold against other builds',
});
