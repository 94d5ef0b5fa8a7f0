export { Disk, type DiskReport } from './disk.js';
export type { Watermark } from './lowness.js';
