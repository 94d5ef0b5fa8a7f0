import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiProperty, ApiPropertyOptional, ApiTags } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { Type } from 'class-transformer';
import { IsInt, IsOptional, Max, Min } from 'class-validator';
import { Requires } from '../access/index.js';
import { ApiPage, PageQuery, pageOf } from '../platform/index.js';
import { Events } from './events.js';

class EventsQuery extends PageQuery {
  @ApiPropertyOptional({ type: 'integer', description: 'Only those of one build' })
  @IsOptional()
  @Type(() => Number)
  @IsInt()
  @Min(1)
  @Max(Number.MAX_SAFE_INTEGER)
  build?: number;
}

export class FarmEvent implements api.FarmEvent {
  @ApiProperty({ description: 'A position for resuming; opaque' }) id!: string;
  @ApiProperty() kind!: string;
  @ApiProperty({ format: 'date-time' }) at!: string;
  @ApiPropertyOptional() builder?: string;
  @ApiPropertyOptional({ type: 'integer' }) build?: number;
  @ApiPropertyOptional({ type: 'integer' }) request?: number;
  @ApiPropertyOptional() worker?: string;
  @ApiProperty({ type: 'object', additionalProperties: true }) data!: Record<string, unknown>;
}
@ApiTags('events')
@Controller('api/v1/events')
export class EventsController {
  constructor(private readonly events: Events) {}

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'What happened, oldest first, after the id of an event' })
  @ApiPage(FarmEvent)
  async list(@Query() { after, build, limit }: EventsQuery): Promise<api.Page<FarmEvent>> {
    const events = await this.events.read({ after, build, limit: limit + 1 });
    return pageOf(events, limit, (event) => event.id);
  }
}
