import { Controller, Get, Query } from '@nestjs/common';
import {
  ApiOkResponse,
  ApiOperation,
  ApiProperty,
  ApiPropertyOptional,
  ApiTags,
} from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { Type } from 'class-transformer';
import { IsInt, IsOptional, Max, Min } from 'class-validator';
import { Requires } from '../access/index.js';
import { PageQuery, pageOf } from '../platform/index.js';
import { Events } from './events.js';

class EventsQuery extends PageQuery {
  @ApiPropertyOptional({ description: 'Only those of one build' })
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
  @ApiPropertyOptional() build?: number;
  @ApiPropertyOptional() request?: number;
  @ApiPropertyOptional() worker?: string;
  @ApiProperty({ type: 'object', additionalProperties: true }) data!: Record<string, unknown>;
}
export class FarmEventPage implements api.Page<FarmEvent> {
  @ApiProperty({ type: [FarmEvent] }) items!: FarmEvent[];
  @ApiProperty({ type: String, nullable: true }) next!: string | null;
}

@ApiTags('events')
@Controller('events')
export class EventsController {
  constructor(private readonly events: Events) {}

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'What happened, oldest first, after the id of an event' })
  @ApiOkResponse({ type: FarmEventPage })
  async list(@Query() { after, build, limit }: EventsQuery): Promise<FarmEventPage> {
    const events = await this.events.read({ after, build, limit: limit + 1 });
    return pageOf(events, limit, (event) => event.id);
  }
}
