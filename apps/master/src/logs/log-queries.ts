/** What clients ask of logs, and what they are told. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { Type } from 'class-transformer';
import {
  IsIn,
  IsInt,
  IsNotEmpty,
  IsOptional,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
} from 'class-validator';
import { LINES } from './line-range.js';

const FLAGS = ['true', 'false'] as const;
type Flag = (typeof FLAGS)[number];

class StreamQuery {
  @ApiPropertyOptional({ enum: STREAMS, description: 'Only what came on this stream' })
  @IsOptional()
  @IsIn(STREAMS)
  stream?: StreamName;
}

export class LogQuery extends StreamQuery {
  @ApiPropertyOptional({
    description: 'Only these lines, counted from 1: `12-40`, `12-` to the end, `12`',
    pattern: LINES.source,
  })
  @IsOptional()
  @Matches(LINES, { message: 'lines is FIRST-LAST, FIRST- or FIRST, counted from 1, like 12-40' })
  lines?: string;

  @ApiPropertyOptional({ type: 'integer', minimum: 0, description: 'Only the last so many lines' })
  @IsOptional()
  @Type(() => Number)
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  tail?: number;

  @ApiPropertyOptional({ type: 'boolean', description: 'Begin each line with its time' })
  @IsOptional()
  @IsIn(FLAGS)
  timestamps?: Flag;
}

/** Far above what anyone reads at once. */
const MOST_MATCHES = 1000;

export class SearchLogQuery extends StreamQuery {
  @ApiProperty({ description: 'A text, or an expression; within one line', maxLength: 1000 })
  @IsString()
  @IsNotEmpty()
  @MaxLength(1000)
  @Matches(/^[^\n]*$/, { message: 'q is searched within lines: it has no newline in it' })
  q!: string;

  @ApiPropertyOptional({ type: 'boolean', description: '`q` is a JavaScript regular expression' })
  @IsOptional()
  @IsIn(FLAGS)
  regex?: Flag;

  @ApiPropertyOptional({ type: 'boolean', description: 'Capital letters count like small ones' })
  @IsOptional()
  @IsIn(FLAGS)
  ignoreCase?: Flag;

  @ApiPropertyOptional({ description: '`next` of the answer before' })
  @IsOptional()
  @Matches(/^\d{1,15}$/, { message: 'after is `next` of the answer before' })
  after?: string;

  @ApiPropertyOptional({ type: 'integer', default: 100, minimum: 1, maximum: MOST_MATCHES })
  @IsOptional()
  @Type(() => Number)
  @IsInt()
  @Min(1)
  @Max(MOST_MATCHES)
  limit: number = 100;
}

export class LogMatch implements api.LogMatch {
  @ApiProperty({ type: 'integer', description: 'From 1' }) line!: number;
  @ApiProperty({ type: 'integer', description: 'Of the occurrence, in bytes of the log' })
  offset!: number;
  @ApiProperty({ type: 'integer', description: 'In bytes' }) length!: number;
  @ApiProperty({ enum: STREAMS }) stream!: StreamName;
  @ApiProperty({ format: 'date-time' }) at!: string;
  @ApiProperty({ description: 'The line, or what lies around the occurrence in a long one' })
  text!: string;
  @ApiProperty({ type: 'integer', description: 'Where the occurrence begins in `text`' })
  start!: number;
  @ApiProperty({ type: 'integer' }) end!: number;
}

export class LogSearchResult implements api.LogSearchResult {
  @ApiProperty({ type: [LogMatch], description: 'Lines with their first occurrence, in order' })
  matches!: LogMatch[];
  @ApiProperty({
    type: String,
    nullable: true,
    description: 'Passed as `after` it goes on there; null when all is searched',
  })
  next!: string | null;
  @ApiProperty({ type: 'integer', description: 'Bytes of the log that are searched' })
  searched!: number;
  @ApiProperty({ type: 'integer', description: 'Bytes of the log' }) bytes!: number;
  @ApiProperty({ description: 'Nothing will be added to the log any more' }) complete!: boolean;
}
