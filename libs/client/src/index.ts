export * from './api.js';
export type { Fetch, FetchInit, FetchResponse, Signal, SocketClass } from './host.js';
export * from './live.js';
export * from './output-behind.js';
export { quarantineText } from './quarantine-text.js';
export * from './problem-codes.js';
export * from './problem-error.js';
export * from './rest.js';
