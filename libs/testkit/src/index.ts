export * from './postgres.js';
export * from './engine.js';
export * from './engine-registry.js';
export * from './patience.js';
export * from './model-database.js';
export type * from './model-rows.js';
export * from './hostile-traffic.js';
