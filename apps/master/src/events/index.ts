export { EventsModule } from './events.module.js';
export {
  Events,
  EVENT_KINDS,
  type EventBatch,
  type EventKind,
  type NewEvent,
  type ReadEvents,
} from './events.js';
export { comparePositions } from './position.js';
