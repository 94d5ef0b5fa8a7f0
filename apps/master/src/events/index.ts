export { EventsModule } from './events.module.js';
export { Events, type NewEvent } from './events.js';
export { comparePositions } from './position.js';
