export { Budget } from './budget.js';
export { Journal, type JournalRecord } from './journal.js';
export { Spool } from './spool.js';
export type { EventRecord, LogRecord, NewRecord, Progress } from './record.js';
