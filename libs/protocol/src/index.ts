export * from './close-codes.js';
export * from './codec.js';
export * from './data-frames.js';
export * from './messages.js';
export * from './version.js';
export * from './reasons.js';
export * from './reason.js';
export * from './lease.js';
export * from './standing.js';
export { decideWorker } from './worker-machine.js';
export * from './worker-machine-state.js';
export { acceptWorker, decideMaster } from './master-machine.js';
export {
  MASTER_LIMITS,
  masterLimits,
  type MasterCommand,
  type MasterEvent,
  type MasterLimits,
  type MasterState,
} from './master-machine-state.js';
