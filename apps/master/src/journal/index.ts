export { JournalModule } from './journal.module.js';
export { Journal, PENDING_LIMIT } from './journal.js';
export type { JournalSource } from './pending.js';
export type { JournalRecord, Outcome } from './ingest.js';
