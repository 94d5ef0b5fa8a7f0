export * from './eventually.js';
export * from './farm.js';
export * from './program.js';
