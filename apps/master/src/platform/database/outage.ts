import { FarmError } from '@impgem/kit';

const SYSTEM = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const DISK_FULL = '53100';
/** Shut down by an administrator, crashed, still starting; too many connections; out of memory or disk. */
const SQL_STATES = new Set(['57P01', '57P02', '57P03', '53300', '53200', DISK_FULL]);
const MESSAGES =
  /^Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Query read timeout|^timeout expired|is not currently accepting connections$/;

/** Whether the error says that the database is away, in contrast to one that the statement itself caused. */
export function isOutage(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  if (error instanceof FarmError)
    return error.code === 'database-unavailable' || error.code === 'database-full';
  // By shape and not by class: TypeORM wraps, Node aggregates, and test runners have several classes `Error`.
  const { code, message, driverError, errors } = error as Record<string, unknown>;
  if (driverError !== undefined && driverError !== error && isOutage(driverError)) return true;
  if (Array.isArray(errors) && errors.some(isOutage)) return true;
  if (typeof code === 'string')
    if (SYSTEM.has(code) || SQL_STATES.has(code) || /^08...$/.test(code)) return true;
  return typeof message === 'string' && MESSAGES.test(message);
}

/** `disk_full`; the driver's error may be wrapped. */
function isFull(error: unknown): boolean {
  const { code, driverError } = error as { code?: unknown; driverError?: { code?: unknown } };
  return code === DISK_FULL || driverError?.code === DISK_FULL;
}

/** The error to give to callers: outages become `FarmError('database-unavailable')`, others stay. */
export function asFarmError(error: unknown): unknown {
  if (!isOutage(error) || error instanceof FarmError) return error;
  if (isFull(error))
    return new FarmError(
      'database-full',
      'the disk of the database is full: nothing can be written until there is room',
      {},
      { cause: error },
    );
  return new FarmError(
    'database-unavailable',
    'the database does not answer; try again in a few seconds',
    {},
    { cause: error },
  );
}
