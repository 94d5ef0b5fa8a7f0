export * from './plan.js';
export * from './results.js';
