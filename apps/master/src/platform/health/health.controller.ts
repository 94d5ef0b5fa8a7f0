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
import { DataDisk } from '../storage/data-disk.js';
import { Lifecycle } from './lifecycle.js';

const PING_MS = 2000;
export const NO_DATABASE =
  'the database does not answer: nothing new is taken, what runs goes on, and all of it by itself when it is back';

export class Health {
  @ApiProperty({ enum: ['ok', 'unavailable'] }) status!: 'ok' | 'unavailable';
  @ApiProperty({ enum: ['starting', 'serving', 'stopping'] }) state!: Lifecycle['state'];
  @ApiProperty({ enum: ['up', 'down'] }) database!: 'up' | 'down';
  @ApiProperty({ type: [String], description: 'what is wrong, and what to do about it' })
  problems!: string[];
}

@ApiTags('health')
@Controller('health')
@Public()
export class HealthController {
  constructor(
    private readonly database: Database,
    private readonly lifecycle: Lifecycle,
    private readonly disk: DataDisk,
  ) {
    disk.measure();
  }

  /** The process runs and answers. Restart it when it does not. */
  @Get('live')
  @ApiOkResponse({ type: Health })
  async live(): Promise<Health> {
    const { state } = this.lifecycle;
    const database = this.database.status();
    return { status: 'ok', state, database, problems: await this.#problems(database) };
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
    const problems = await this.#problems(database);
    return { status: ok ? 'ok' : 'unavailable', state, database, problems };
  }

  async #problems(database: 'up' | 'down'): Promise<string[]> {
    // A disk that cannot even be asked is no reason to answer nothing.
    const disk = await this.disk.problem().catch((error: Error) => error.message);
    return [
      ...(database === 'up' ? [] : [NO_DATABASE]),
      ...(this.lifecycle.state === 'stopping' ? ['somebody stops the master'] : []),
      ...(disk === undefined ? [] : [disk]),
    ];
  }
}
