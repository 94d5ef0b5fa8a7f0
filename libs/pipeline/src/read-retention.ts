import { DEFAULT_KEEP, type Retention } from './definition.js';
import { MAX_RETENTION_MS, MIN_RETENTION_MS, parseDuration } from './duration.js';
import type { RetentionInFile } from './farm-file.js';

const FOREVER = 'forever';
const AGES = ['builds', 'logs', 'artifacts'] as const;

/**
 * How long a builder's results are kept: as it says itself, and what it leaves out as the whole file says.
 * Undefined when nothing is ever removed.
 */
export function retentionOf(
  own: RetentionInFile | undefined,
  farm: RetentionInFile | undefined,
): Retention | undefined {
  const ms = (key: (typeof AGES)[number]) => {
    const text = own?.[key] ?? farm?.[key] ?? FOREVER;
    return text === FOREVER ? undefined : parseDuration(text);
  };
  const ages = { buildsMs: ms('builds'), logsMs: ms('logs'), artifactsMs: ms('artifacts') };
  const set = Object.entries(ages).filter(([, age]) => age !== undefined);
  if (set.length === 0) return undefined;
  return { ...Object.fromEntries(set), keep: own?.keep ?? farm?.keep ?? DEFAULT_KEEP };
}

/** What is wrong with the ages, each under its key. */
export function retentionProblems(retention: RetentionInFile): { key: string; message: string }[] {
  return AGES.flatMap((key) => {
    const text = retention[key] ?? FOREVER;
    if (text === FOREVER) return [];
    const ms = parseDuration(text);
    if (ms === undefined || ms <= 0)
      return [{ key, message: `${JSON.stringify(text)} is no age; write 12h, 30d or ${FOREVER}` }];
    if (ms < MIN_RETENTION_MS) return [{ key, message: 'everything is kept for 1h at least' }];
    if (ms > MAX_RETENTION_MS)
      return [{ key, message: `no age is longer than 3650d; write ${FOREVER} to remove nothing` }];
    return [];
  });
}
