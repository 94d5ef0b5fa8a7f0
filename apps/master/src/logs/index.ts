export { LogsModule } from './logs.module.js';
export { Logs } from './logs.js';
export { inflate, type StoredChunk } from './chunk.js';
export type { LogRef } from './log-rows.js';
