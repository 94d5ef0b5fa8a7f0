import { Initial1764000000000 } from './1764000000000-initial.js';
import { WorkerDisks1764100000000 } from './1764100000000-worker-disks.js';

/** All migrations, oldest first. */
export const MIGRATIONS = [Initial1764000000000, WorkerDisks1764100000000];
