export { Access, SESSION_COOKIE, type Knock } from './access.js';
export { AccessModule } from './access.module.js';
export { Audit } from './audit.js';
export { Caller, withImplied } from './caller.js';
export { Public, Requires } from '../platform/index.js';
export {
  bearer,
  hashSecret,
  mintToken,
  parseToken,
  secretMatches,
  type MintedToken,
  type TokenPrefix,
} from './secrets.js';
