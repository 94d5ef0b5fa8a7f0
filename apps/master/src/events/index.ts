export { EventsModule } from './events.module.js';
export { Events, EVENT_KINDS, type EventKind, type NewEvent, type ReadEvents } from './events.js';
export { formatPosition, parsePosition, type Position } from './position.js';
