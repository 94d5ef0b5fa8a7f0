import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiBearerAuth, ApiExtension } from '@nestjs/swagger';
import type { Scope } from '@impgem/client';

/** Key of the metadata that the guard in access/ reads. */
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
