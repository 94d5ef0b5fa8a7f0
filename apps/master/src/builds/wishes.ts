/** What clients send about builds. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { RESULTS } from '@impgem/pipeline';
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayNotEmpty,
  IsArray,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsString,
  Matches,
  Max,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';
import { PageQuery } from '../platform/index.js';
import { BUILD_STATES, REQUEST_STATES } from './responses.js';

/** Postgres has no place for it in a text. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const NO_NUL = /^[^\u0000]*$/;
const MAX_REASON = 500;
/** A step of priority is worth ten minutes of waiting: this is a week. */
const MAX_PRIORITY = 1000;

export class BuildWish {
  @ApiProperty({ description: 'Name of the builder' })
  @IsString()
  @MaxLength(200)
  builder!: string;

  @ApiPropertyOptional({
    type: 'object',
    additionalProperties: { type: 'string' },
    description: 'Those that the builder declares; defaults fill in the rest',
  })
  @IsOptional()
  @IsObject()
  properties?: Record<string, unknown>;

  @ApiPropertyOptional({ type: 'integer', default: 0, description: 'Higher goes first' })
  @IsOptional()
  @IsInt()
  @Min(-MAX_PRIORITY)
  @Max(MAX_PRIORITY)
  priority?: number;

  @ApiPropertyOptional({ description: 'Why; for people' })
  @IsOptional()
  @IsString()
  @MaxLength(MAX_REASON)
  @Matches(NO_NUL, { message: 'reason has a NUL character in it' })
  reason?: string;
}

/** Requests that are asked for together, at most. */
const MOST_WISHES = 500;

export class BatchWish {
  @ApiProperty({ type: [BuildWish], maxItems: MOST_WISHES })
  @IsArray({ message: 'requests is a list of build requests' })
  @ArrayNotEmpty({ message: 'requests is empty: ask for one build at least' })
  @ArrayMaxSize(MOST_WISHES, { message: `at most ${MOST_WISHES} requests are taken at once` })
  @IsObject({ each: true, message: 'each of the requests is an object' })
  @ValidateNested({ each: true })
  @Type(() => BuildWish)
  requests!: BuildWish[];
}

export class CancelWish {
  @ApiPropertyOptional({ description: 'Why; shown with the build' })
  @IsOptional()
  @IsString()
  @MaxLength(MAX_REASON)
  @Matches(NO_NUL, { message: 'reason has a NUL character in it' })
  reason?: string;
}

class BuilderFilter extends PageQuery {
  @ApiPropertyOptional({ description: 'Only of this builder' })
  @IsOptional()
  @IsString()
  @MaxLength(200)
  builder?: string;
}

export class RequestsQuery extends BuilderFilter {
  @ApiPropertyOptional({ enum: REQUEST_STATES })
  @IsOptional()
  @IsIn(REQUEST_STATES)
  state?: api.BuildRequest['state'];
}

export class BuildsQuery extends BuilderFilter {
  @ApiPropertyOptional({ enum: BUILD_STATES })
  @IsOptional()
  @IsIn(BUILD_STATES)
  state?: api.Build['state'];

  @ApiPropertyOptional({ enum: RESULTS })
  @IsOptional()
  @IsIn(RESULTS)
  result?: api.Result;
}
