import { Body, Controller, Delete, Get, HttpCode, Post, Req, Res } from '@nestjs/common';
import {
  ApiCreatedResponse,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiProperty,
  ApiTags,
} from '@nestjs/swagger';
import { IsString, MaxLength } from 'class-validator';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Scope, Session } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { MasterConfig, Public, Requires } from '../platform/index.js';
import { Access } from './access.js';
import { SESSION_COOKIE, sessionCookieName } from './session-cookie.js';
import { Caller } from './caller.js';
import { allowedOrigin } from './origin.js';
import { TokenThrottle } from './token-throttle.js';

export class SignIn {
  @ApiProperty({ description: 'an API token' })
  @IsString()
  @MaxLength(200)
  token!: string;
}

class SessionDto implements Session {
  @ApiProperty({ example: 'token:ci' }) actor!: string;
  @ApiProperty({ enum: ['read', 'trigger', 'admin'], isArray: true }) scopes!: Scope[];
  @ApiProperty({ description: 'to be sent as X-CSRF-Token; empty without a session' })
  csrf!: string;
  @ApiProperty({ format: 'date-time' }) expiresAt!: string;
}

const NEVER = '9999-12-31T23:59:59.999Z';

@ApiTags('access')
@Controller('api/v1/session')
export class SessionController {
  constructor(
    private readonly access: Access,
    private readonly throttle: TokenThrottle,
    private readonly config: MasterConfig,
  ) {}

  /** Signs the page in: trades a token for a cookie that scripts cannot read. */
  @Post()
  @Public()
  @ApiCreatedResponse({ type: SessionDto })
  async signIn(
    @Body() { token }: SignIn,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<Session> {
    if (!allowedOrigin(request.headers, this.config.publicUrl))
      throw new FarmError('origin', `a page of ${request.headers.origin} may not sign in here`);
    const { cookie, caller } = await this.throttle.signIn(request.ip, token, () =>
      this.access.signIn(token),
    );
    const options = this.#cookie(request);
    reply.setCookie(sessionCookieName(options.secure), cookie, {
      ...options,
      ...(caller.expiresAt ? { expires: caller.expiresAt } : {}),
    });
    return sessionView(caller);
  }

  @Get()
  @Requires('read')
  @ApiOkResponse({ type: SessionDto })
  current(@Caller() caller: Caller): Session {
    return sessionView(caller);
  }

  @Delete()
  @Requires('read')
  @HttpCode(204)
  @ApiNoContentResponse({ description: 'signed out' })
  async signOut(
    @Caller() caller: Caller,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    await this.access.signOut(caller);
    const options = this.#cookie(request);
    for (const name of new Set([SESSION_COOKIE, sessionCookieName(options.secure)]))
      reply.clearCookie(name, options);
  }

  #cookie(request: FastifyRequest) {
    const secure = request.protocol === 'https' || this.config.publicUrl.startsWith('https:');
    return { httpOnly: true, sameSite: 'strict', secure, path: '/' } as const;
  }
}

function sessionView(caller: Caller): Session {
  return {
    actor: caller.actor,
    scopes: caller.scopes,
    csrf: caller.session?.csrf ?? '',
    expiresAt: caller.expiresAt?.toISOString() ?? NEVER,
  };
}
