export * from './api.js';
export * from './problem-codes.js';
