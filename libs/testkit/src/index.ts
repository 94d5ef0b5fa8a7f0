export * from './postgres.js';
export * from './engine.js';
