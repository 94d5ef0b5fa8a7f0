import type { Quarantine } from './api.js';

/** The rest of a sentence that begins with the worker's name. */
export function quarantineText({ until, strikes, reason }: Quarantine, now = Date.now()): string {
  const why = `after ${strikes} builds in a row that it spoiled or lost`;
  const last = reason ? `; the last one: ${reason.message}` : '';
  const at = `${until.slice(0, 19).replace('T', ' ')} UTC`;
  return Date.parse(until) > now
    ? `is given no builds until ${at}, ${why}${last}`
    : `is given one build at a time until one ends well, ${why}${last}`;
}
