export * from './invariant.js';
export * from './clock.js';
export * from './backoff.js';
export * from './crc32-combine.js';
export * from './deferred.js';
export * from './farm-error.js';
export * from './json-bounds.js';
export * from './finding.js';
