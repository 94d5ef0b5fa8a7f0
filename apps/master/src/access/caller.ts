import {
  applyDecorators,
  createParamDecorator,
  SetMetadata,
  type ExecutionContext,
} from '@nestjs/common';
import { ApiBearerAuth, ApiExtension } from '@nestjs/swagger';
import type { Scope } from '@impgem/client';

/** Who makes a request. */
export interface Caller {
  /** `token:<name>`, as it stands in the audit table. */
  actor: string;
  tokenId: string;
  /** All that it may, implied ones too. */
  scopes: Scope[];
  /** When it ends by itself; absent: never. */
  expiresAt?: Date;
  /** Present when it came with the page's cookie. */
  session?: { idHash: Buffer; csrf: string };
}

/** Parameter of a handler: the `Caller`. Only where `@Requires` stands. */
export const Caller = createParamDecorator(
  (_: unknown, context: ExecutionContext): Caller | undefined =>
    context.switchToHttp().getRequest<{ caller?: Caller }>().caller,
);

const IMPLIES: Record<Scope, readonly Scope[]> = {
  admin: ['read', 'trigger', 'admin'],
  trigger: ['read', 'trigger'],
  read: ['read'],
};

/** A token's scopes with those that they imply. */
export function withImplied(scopes: readonly Scope[]): Scope[] {
  return [...new Set(scopes.flatMap((scope) => IMPLIES[scope]))];
}

export const ACCESS = 'impgem:access';
/** What a route asks for; `public`: nothing, or something of its own that the handler checks. */
export type RouteAccess = Scope | 'public';

/** On a controller or handler: the scope its caller needs. What has neither this nor `@Public` is denied. */
export function Requires(scope: Scope): ClassDecorator & MethodDecorator {
  return applyDecorators(
    SetMetadata(ACCESS, scope),
    ApiBearerAuth(),
    ApiExtension('x-scope', scope),
  ) as ClassDecorator & MethodDecorator;
}

/** On a controller or handler: no API token needed. */
export function Public(): ClassDecorator & MethodDecorator {
  return applyDecorators(
    SetMetadata(ACCESS, 'public'),
    ApiExtension('x-scope', 'public'),
  ) as ClassDecorator & MethodDecorator;
}
