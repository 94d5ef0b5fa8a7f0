export { SchedulingModule } from './scheduling.module.js';
export { Queue, type Submission, type CancelOutcome } from './queue.js';
export { Leases, type LeaseCancelOutcome } from './leases.js';
export { Dispatcher, type Taker } from './dispatcher.js';
export type { Assignment, Claimant } from './claim.js';
export { closeAttempts, type Ending } from './closing.js';
