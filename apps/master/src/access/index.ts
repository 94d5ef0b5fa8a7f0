export { Access } from './access.js';
export { AccessModule } from './access.module.js';
export { Audit, insertAudit } from './audit.js';
export { Caller } from './caller.js';
export { Places } from './places.js';
export { TokenThrottle } from './token-throttle.js';
export { Requires } from '../platform/index.js';
export { bearer, mintToken, parseToken, secretMatches } from './secrets.js';
