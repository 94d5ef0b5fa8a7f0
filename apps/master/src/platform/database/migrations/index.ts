import { Initial1764000000000 } from './1764000000000-initial.js';

/** All migrations, oldest first. */
export const MIGRATIONS = [Initial1764000000000];
