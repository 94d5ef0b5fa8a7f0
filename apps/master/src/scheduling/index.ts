export { SchedulingModule } from './scheduling.module.js';
export { Queue, type Submission, type Submitted } from './queue.js';
export { QueueBound } from './queue-bound.js';
export { Intake } from './intake.js';
export { Leases } from './leases.js';
export { Dispatcher, type Taker } from './dispatcher.js';
export type { Assignment, Claimant } from './claim.js';
export { closeAttempts, type Ending } from './closing.js';
