import { pino, type Logger } from 'pino';

export type { Logger } from 'pino';

const root = pino(
  {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) },
    redact: ['token', 'password', '*.token', 'req.headers.authorization', 'req.headers.cookie'],
    // Until the configuration is read; tests stay quiet.
    level: 'warn',
  },
  pino.destination({ dest: 2, sync: true }),
);
const children = new Set<Logger>();

/**
 * A logger for one feature: JSON lines on stderr, with `feature` in each. Give `build`, `epoch`, `worker` where
 * known: `log.info({ build, epoch }, 'assigned')`. Errors go in as `{ err }`.
 */
export function logger(feature: string): Logger {
  const child = root.child({ feature });
  children.add(child);
  return child;
}

/** Sets the level of all loggers, those that exist and those to come. */
export function setLogLevel(level: string): void {
  root.level = level;
  for (const child of children) child.level = level;
}
