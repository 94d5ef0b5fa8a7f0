import { Initial1764000000000 } from './1764000000000-initial.js';
import { WorkerDisks1764100000000 } from './1764100000000-worker-disks.js';
import { SealedLogs1764200000000 } from './1764200000000-sealed-logs.js';
import { Retry1764300000000 } from './1764300000000-retry.js';
import { Retention1764400000000 } from './1764400000000-retention.js';
import { SmallBlobs1764500000000 } from './1764500000000-small-blobs.js';
import { Spooled1764600000000 } from './1764600000000-spooled.js';
import { Standings1764700000000 } from './1764700000000-standings.js';
import { JournalUse1764800000000 } from './1764800000000-journal-use.js';
import { WorkerNames1764900000000 } from './1764900000000-worker-names.js';
import { BuilderVersions1765000000000 } from './1765000000000-builder-versions.js';

/** All migrations, oldest first. */
export const MIGRATIONS = [
  Initial1764000000000,
  WorkerDisks1764100000000,
  SealedLogs1764200000000,
  Retry1764300000000,
  Retention1764400000000,
  SmallBlobs1764500000000,
  Spooled1764600000000,
  Standings1764700000000,
  JournalUse1764800000000,
  WorkerNames1764900000000,
  BuilderVersions1765000000000,
];
