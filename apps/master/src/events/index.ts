export { EventsModule } from './events.module.js';
export { Events, type NewEvent } from './events.js';
export { comparePositions, formatPosition, parsePosition } from './position.js';
