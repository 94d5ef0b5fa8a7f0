export { Budget } from './budget.js';
export { Journal, type JournalRecord, type Launch, type StopNote } from './journal.js';
export { Spool } from './spool.js';
export { REVISION, type LogState, type NewRecord, type OpenStep, type Progress } from './record.js';
