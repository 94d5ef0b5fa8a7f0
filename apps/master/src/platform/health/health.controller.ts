import { Controller, Get, Res } from '@nestjs/common';
import {
  ApiOkResponse,
  ApiProperty,
  ApiServiceUnavailableResponse,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Database } from '../database/database.js';
import { Public } from '../http/route-access.js';
import { Lifecycle } from './lifecycle.js';

const PING_MS = 2000;

export class Health {
  @ApiProperty({ enum: ['ok', 'unavailable'] }) status!: 'ok' | 'unavailable';
  @ApiProperty({ enum: ['starting', 'serving', 'stopping'] }) state!: Lifecycle['state'];
  @ApiProperty({ enum: ['up', 'down'] }) database!: 'up' | 'down';
}

@ApiTags('health')
@Controller('health')
@Public()
export class HealthController {
  constructor(
    private readonly database: Database,
    private readonly lifecycle: Lifecycle,
  ) {}

  /** The process runs and answers. Restart it when it does not. */
  @Get('live')
  @ApiOkResponse({ type: Health })
  live(): Health {
    return { status: 'ok', state: this.lifecycle.state, database: this.database.status() };
  }

  /** Requests will be served: the database answers, its schema is this version's, and nobody stops the master. */
  @Get('ready')
  @ApiOkResponse({ type: Health })
  @ApiServiceUnavailableResponse({ type: Health })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<Health> {
    const database = await Promise.race([
      this.database.ping().then(
        () => 'up' as const,
        () => 'down' as const,
      ),
      new Promise<'down'>((resolve) => setTimeout(resolve, PING_MS, 'down').unref()),
    ]);
    const { state } = this.lifecycle;
    const ok = database === 'up' && state === 'serving';
    reply.code(ok ? 200 : 503);
    return { status: ok ? 'ok' : 'unavailable', state, database };
  }
}
