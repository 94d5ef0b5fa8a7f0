export * from './postgres.js';
export * from './engine.js';
export * from './engine-registry.js';
