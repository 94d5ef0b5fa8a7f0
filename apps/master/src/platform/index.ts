export * from './config.js';
export * from './logging.js';
export * from './nearest.js';
export { Database, type Tx, type DatabaseOptions } from './database/database.js';
export { isOutage } from './database/outage.js';
export { ApiPage, PageQuery, pageOf, PAGE_LIMIT } from './http/page.js';
