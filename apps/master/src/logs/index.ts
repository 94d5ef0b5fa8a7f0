export { LogsModule } from './logs.module.js';
export { Logs, inflate, type LogRef, type StoredChunk } from './logs.js';
