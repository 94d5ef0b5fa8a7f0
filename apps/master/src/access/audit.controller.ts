import { Controller, Get, Query } from '@nestjs/common';
import { ApiProperty, ApiTags } from '@nestjs/swagger';
import { IsOptional, Matches } from 'class-validator';
import type { AuditEntry, Page } from '@impgem/client';
import { ApiPage, PageQuery, Requires } from '../platform/index.js';
import { Audit } from './audit.js';

class AuditEntryDto implements AuditEntry {
  @ApiProperty({ type: 'integer' }) id!: number;
  @ApiProperty({ format: 'date-time' }) at!: string;
  @ApiProperty({ description: '`token:<name>`, `worker:<name>` or `system`' }) actor!: string;
  @ApiProperty({ example: 'token.create' }) action!: string;
  @ApiProperty() target!: string;
  @ApiProperty({ type: 'object', additionalProperties: true }) detail!: Record<string, unknown>;
}

export class AuditQuery extends PageQuery {
  @IsOptional()
  @Matches(/^\d{1,15}$/, { message: 'after is the `next` of the page before' })
  declare after?: string;
}

@ApiTags('access')
@Controller('api/v1/audit')
@Requires('admin')
export class AuditController {
  constructor(private readonly audit: Audit) {}

  /** Newest first. */
  @Get()
  @ApiPage(AuditEntryDto)
  list(@Query() query: AuditQuery): Promise<Page<AuditEntry>> {
    return this.audit.list(query);
  }
}
