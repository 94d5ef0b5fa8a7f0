import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
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
