export { EventsModule } from './events.module.js';
export { Events, insertEvents, type NewEvent } from './events.js';
export { comparePositions, formatPosition, parsePosition } from './position.js';
