export { JournalModule } from './journal.module.js';
export { Journal, PENDING_LIMIT, type JournalSource } from './journal.js';
export type { JournalRecord, Outcome } from './ingest.js';
