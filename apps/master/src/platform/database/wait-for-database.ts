import { setTimeout as sleep } from 'node:timers/promises';
import { FarmError, fullJitter } from '@impgem/kit';
import { Client } from 'pg';
import { logger } from '../logging.js';
import { connectionSettings, sessionSettings } from './database.js';
import { unfitness, type Unfitness } from './fitness.js';
import { isOutage } from './outage.js';

const BACKOFF = { baseMs: 200, capMs: 3000 };
const SAY_EVERY_MS = 10_000;

const log = logger('database');

/**
 * Resolves when the database takes connections and can carry a farm, however long that is; says every ten seconds that it still
 * waits. Rejects with `FarmError('database-refused')` when it answers but does not want us, which waiting will
 * not mend, and with the signal's reason.
 */
export async function waitForDatabase(url: string, signal: AbortSignal): Promise<void> {
  let said = 0;
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    const client = new Client(connectionSettings(url));
    client.on('error', () => undefined);
    try {
      await client.connect();
      const wrong = await unfitness(sessionSettings(url));
      if (wrong.length > 0) throw unfit(wrong);
      if (attempt > 0) log.info('the database answers');
      return;
    } catch (error) {
      if (error instanceof FarmError && error.code === 'database-refused') throw error;
      if (!isOutage(error))
        throw new FarmError(
          'database-refused',
          `the database of DATABASE_URL does not let the master in: ${(error as Error).message}`,
          {},
          { cause: error },
        );
      if (Date.now() - said >= SAY_EVERY_MS) {
        said = Date.now();
        const why = (error as Error).message || (error as { code?: string }).code;
        log.warn({ why }, 'the database does not answer; trying again until it does');
      }
    } finally {
      await client.end().catch(() => undefined);
    }
    await sleep(fullJitter(attempt, BACKOFF), undefined, { signal });
  }
}

/** All that is wrong, one line each, with how to mend it. */
function unfit(wrong: readonly Unfitness[]): FarmError {
  const lines = wrong.map(({ problem, mend }) => `- ${problem}\n  ${mend}`);
  return new FarmError(
    'database-refused',
    `the database cannot carry a farm:\n${lines.join('\n')}`,
  );
}
