export { Disk, type DiskReport } from './disk.js';
export { examineDisks } from './examine-disks.js';
export type { Watermark } from './lowness.js';
