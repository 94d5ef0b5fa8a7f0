import { pino, type Logger } from 'pino';

export type { Logger } from 'pino';

/**
 * What the log has of an error: its type, message and stack, those of its causes in the last two, and its code. No
 * other field: an error of the database carries its client, with every statement and its parameters.
 */
export function errorForLog(error: Error & { code?: unknown }): object {
  const { type, message, stack } = pino.stdSerializers.err(error);
  return { type, code: error.code, message, stack };
}

const root = pino(
  {
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: errorForLog },
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
