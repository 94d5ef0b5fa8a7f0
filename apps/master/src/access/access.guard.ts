import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { FarmError } from '@impgem/kit';
import { ACCESS, type RouteAccess } from '../platform/index.js';
import type { Caller } from './caller.js';

/**
 * The second look, behind `Door`: a route that says neither `@Public` nor `@Requires` is denied, so that forgetting one shows, and
 * so is one whose caller the door has not let in with that scope.
 */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    // Sockets knock at their gateway, which asks `Access` itself.
    if (context.getType() !== 'http') return true;
    const needs = this.reflector.getAllAndOverride<RouteAccess | undefined>(ACCESS, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (needs === 'public') return true;
    const { caller } = context.switchToHttp().getRequest<{ caller?: Caller }>();
    if (needs === undefined || !caller?.scopes.includes(needs))
      throw new FarmError('forbidden', 'this route is open to nobody');
    return true;
  }
}
