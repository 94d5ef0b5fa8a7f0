import { Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { AccessGuard } from './access.guard.js';
import { Access } from './access.js';
import { AuditController } from './audit.controller.js';
import { Audit } from './audit.js';
import { BulkWork } from './bulk-work.js';
import { SessionController } from './session.controller.js';
import { Door } from './door.js';
import { Places } from './places.js';
import { TokenThrottle } from './token-throttle.js';
import { TokensController } from './tokens.controller.js';
import { Tokens } from './tokens.js';

/**
 * Who may do what: API tokens, the page's sessions, the door in front of every route, and the record of who
 * did what. Secrets are told once, when they are made; the database holds their hashes.
 */
@Global()
@Module({
  controllers: [SessionController, TokensController, AuditController],
  providers: [
    Access,
    Audit,
    BulkWork,
    Door,
    Places,
    Tokens,
    TokenThrottle,
    { provide: APP_GUARD, useClass: AccessGuard },
  ],
  exports: [Access, Audit, BulkWork, Places, TokenThrottle],
})
export class AccessModule {}
