import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiProperty, ApiTags } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { Caller, Requires } from '../access/index.js';
import { Retention } from './retention.js';

const COUNT = { type: 'integer' } as const;
const THROUGH = { ...COUNT, nullable: true, description: 'Up to which build; null: none' } as const;

class RetentionItem implements api.RetentionItem {
  @ApiProperty() builder!: string;
  @ApiProperty({ ...COUNT, description: 'With all that was theirs' }) builds!: number;
  @ApiProperty(THROUGH) buildsThrough!: number | null;
  @ApiProperty(COUNT) logs!: number;
  @ApiProperty(THROUGH) logsThrough!: number | null;
  @ApiProperty({ ...COUNT, description: 'As they are stored' }) logBytes!: number;
  @ApiProperty(COUNT) artifacts!: number;
  @ApiProperty(THROUGH) artifactsThrough!: number | null;
  @ApiProperty(COUNT) artifactBytes!: number;
}

class DiskState implements api.DiskState {
  @ApiProperty(COUNT) freeBytes!: number;
  @ApiProperty({ ...COUNT, nullable: true }) freeInodes!: number | null;
  @ApiProperty({ description: 'No artifacts are taken' }) low!: boolean;
}

class RetentionReport implements api.RetentionReport {
  @ApiProperty({ type: [RetentionItem], description: 'Builders of which something goes' })
  builders!: RetentionItem[];
  @ApiProperty({ ...COUNT, description: 'Of logs and artifacts' }) bytes!: number;
  @ApiProperty({ description: 'There is more to remove: ask again' }) more!: boolean;
  @ApiProperty({ description: 'Where the master keeps its data' }) disk!: DiskState;
}

@ApiTags('farm')
@Controller('api/v1/retention')
export class RetentionController {
  constructor(private readonly retention: Retention) {}

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'What is older than its builder keeps it; nothing is removed' })
  @ApiOkResponse({ type: RetentionReport })
  preview(): Promise<RetentionReport> {
    return this.retention.preview();
  }

  @Post()
  @HttpCode(200)
  @Requires('admin')
  @ApiOperation({
    summary: 'Remove it now',
    description: 'For some seconds at most; ask again while there is more.',
  })
  @ApiOkResponse({ type: RetentionReport })
  run(@Caller() caller: Caller): Promise<RetentionReport> {
    return this.retention.run(caller.actor);
  }
}
