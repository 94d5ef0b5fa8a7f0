import 'reflect-metadata';
import { applyDecorators, SetMetadata } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiBearerAuth, ApiExtension } from '@nestjs/swagger';
import type { Scope } from '@impgem/client';

/** Key of the metadata that the guard in access/ reads. */
export const ACCESS = 'impgem:access';
/** What a route asks for; `public`: nothing, or something of its own that the handler checks. */
export type RouteAccess = Scope | 'public';

/** What is bounded for all and per caller while it is under way. */
export type PlaceKind =
  | 'requests'
  | 'downloads'
  | 'archives'
  | 'searches'
  | 'checks'
  | 'bodies'
  | 'live'
  | 'subscriptions'
  | 'workers';

/** In `config` of a Fastify route, where hooks read it before anything else happens. */
export interface RouteRules {
  access?: RouteAccess;
  /** A place of this kind, besides one of `requests`. */
  takes?: PlaceKind;
  /** Most bytes of the body, where it is read before it is known who sends it. */
  bodyBytes?: number;
}

/** Bytes of a body that anybody may send: a token, or a worker's name and labels. */
const OPEN_BODY_BYTES = 4 * 1024;

/** On a controller or handler: the scope its caller needs. What has neither this nor `@Public` is denied. */
export function Requires(scope: Scope): ClassDecorator & MethodDecorator {
  return applyDecorators(
    SetMetadata(ACCESS, scope),
    rule({ access: scope }),
    ApiBearerAuth(),
    ApiExtension('x-scope', scope),
  ) as ClassDecorator & MethodDecorator;
}

/** On a controller or handler: no API token needed. */
export function Public(bodyBytes = OPEN_BODY_BYTES): ClassDecorator & MethodDecorator {
  return applyDecorators(
    SetMetadata(ACCESS, 'public'),
    rule({ access: 'public', bodyBytes }),
    ApiExtension('x-scope', 'public'),
  ) as ClassDecorator & MethodDecorator;
}

/** On a handler: what it takes a place of. */
export function Takes(kind: PlaceKind): MethodDecorator {
  return rule({ takes: kind }) as MethodDecorator;
}

/** Where `RouteConfig` keeps its value on a handler. */
const CONFIG = '__fastify_route_config__';

/** Adds to a handler's rules, or to those of all handlers of a controller that do not say otherwise. */
function rule(rules: RouteRules): ClassDecorator & MethodDecorator {
  const add = (target: object, name: string | symbol, own: PropertyDescriptor) => {
    const before = Reflect.getMetadata(CONFIG, own.value as object) as RouteRules | undefined;
    RouteConfig({ ...rules, ...before })(target, name, own);
  };
  return ((target: object, name?: string | symbol, own?: PropertyDescriptor) => {
    if (name !== undefined && own) return add(target, name, own);
    const { prototype } = target as { prototype: object };
    for (const each of Object.getOwnPropertyNames(prototype)) {
      const handler = Object.getOwnPropertyDescriptor(prototype, each);
      const isHandler = typeof handler?.value === 'function' && each !== 'constructor';
      if (isHandler && handler) add(prototype, each, handler);
    }
  }) as ClassDecorator & MethodDecorator;
}
