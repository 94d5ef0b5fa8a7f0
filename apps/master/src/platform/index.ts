export * from './config.js';
export * from './logging.js';
export * from './nearest.js';
export { Database, type Tx } from './database/database.js';
export { isOutage } from './database/outage.js';
export { ApiPage, PageQuery, pageOf, PAGE_LIMIT } from './http/page.js';
export { ACCESS, Public, Requires, type RouteAccess } from './http/route-access.js';
export { PlatformModule, type Platform } from './platform.module.js';
export { Lifecycle } from './health/lifecycle.js';
