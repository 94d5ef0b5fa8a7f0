export { Access, SESSION_COOKIE, type Knock } from './access.js';
export { AccessModule } from './access.module.js';
export { Audit } from './audit.js';
export { Caller, Public, Requires, withImplied } from './caller.js';
export {
  bearer,
  hashSecret,
  mintToken,
  parseToken,
  secretMatches,
  type MintedToken,
  type TokenPrefix,
} from './secrets.js';
