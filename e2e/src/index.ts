export * from './farm.js';
export * from './program.js';
