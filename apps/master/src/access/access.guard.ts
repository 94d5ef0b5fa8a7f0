import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { FarmError } from '@impgem/kit';
import { Access } from './access.js';
import { ACCESS, type RouteAccess } from '../platform/index.js';
import type { Caller } from './caller.js';

const READS = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * In front of every route: lets through what says `@Public`, and who has the scope that `@Requires` names.
 * A route with neither is denied, so that forgetting one shows.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly access: Access,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    // Sockets knock at their gateway, which asks `Access` itself.
    if (context.getType() !== 'http') return true;
    const needs = this.reflector.getAllAndOverride<RouteAccess | undefined>(ACCESS, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (needs === 'public') return true;
    const request = context.switchToHttp().getRequest<FastifyRequest & { caller?: Caller }>();
    const caller = await this.access.authenticate(request);
    if (!READS.has(request.method)) this.access.checkCsrf(caller, request);
    if (needs === undefined) throw new FarmError('forbidden', 'this route is open to nobody');
    if (!caller.scopes.includes(needs))
      throw new FarmError(
        'forbidden',
        `this needs the scope ${needs}; ${caller.actor} has ${caller.scopes.join(', ')}`,
      );
    request.caller = caller;
    return true;
  }
}
