export * from './close-codes.js';
export * from './codec.js';
export * from './data-frames.js';
export * from './messages.js';
export * from './version.js';
export * from './reasons.js';
export { decideWorker } from './worker-machine.js';
export * from './worker-machine-state.js';
