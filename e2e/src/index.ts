export * from './farm.js';
export { rssBytes } from './process-facts.js';
export * from './program.js';
