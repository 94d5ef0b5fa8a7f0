export { Disk, free, type DiskReport } from './disk.js';
export { DiskGuard } from './guard.js';
export { examineDisks } from './examine-disks.js';
export type { Watermark } from './lowness.js';
