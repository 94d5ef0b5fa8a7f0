export * from './config.js';
export * from './limits.js';
export * from './logging.js';
export * from './nearest.js';
export { Database, type Transaction, type Tx } from './database/database.js';
export { isOutage } from './database/outage.js';
export { ApiPage, PageQuery, pageOf, PAGE_LIMIT } from './http/page.js';
export { admitUpgrade, keepPlace } from './http/refuse-upgrade.js';
export { addressBlock, clientAddress, type Trust, trustOf } from './http/client-address.js';
export {
  ACCESS,
  Public,
  Requires,
  Takes,
  type PlaceKind,
  type RouteAccess,
  type RouteRules,
} from './http/route-access.js';
export { closeSocket, shielded } from './http/web-sockets.js';
export { markAdmitted } from './http/silent-connections.js';
export { limitHits } from './metrics/limit-hits.js';
export { PlatformModule, type Platform } from './platform.module.js';
export { BlobStore } from './storage/blobs.js';
export {
  BlobError,
  holdSmallBlobs,
  keepBlobs,
  sweepBlobs,
  sweepSmallBlobs,
} from './storage/keep-blobs.js';
export { DataDisk } from './storage/data-disk.js';
export { threadFile } from './thread-file.js';
export { VERSION } from './version.js';
export { Lifecycle } from './health/lifecycle.js';
