export { LogsModule } from './logs.module.js';
export {
  Logs,
  inflate,
  type LogPage,
  type LogRef,
  type LogState,
  type StoredChunk,
} from './logs.js';
