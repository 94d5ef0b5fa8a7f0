import 'reflect-metadata';
import { Type } from 'class-transformer';
import {
  IsArray,
  IsBoolean,
  IsIn,
  IsInt,
  IsObject,
  IsOptional,
  IsPositive,
  IsString,
  Min,
  ValidateNested,
} from 'class-validator';
import { PlannedSource } from './plan.js';

/** One step of a builder, as the file says it; expressions are still in it. */
export class StepDefinition {
  @IsString() name!: string;
  @IsString() run!: string;
  @IsOptional() @IsString() image?: string;
  @IsObject() env!: Record<string, string>;
  @IsOptional() @IsString() workdir?: string;
  @IsOptional() @IsInt() @IsPositive() timeoutMs?: number;
  @IsOptional() @IsInt() @IsPositive() silenceTimeoutMs?: number;
  /** stdout and stderr are one stream; two when absent. */
  @IsOptional() @IsIn(['merged']) output?: 'merged';
}

/** A property that whoever triggers the builder may set. */
export class PropertyDefinition {
  @IsOptional() @IsString() description?: string;
  @IsOptional() @IsString() default?: string;
  /** It must be given: it has no default. */
  @IsBoolean() required!: boolean;
  /** The allowed values; any when absent. */
  @IsOptional() @IsArray() @IsString({ each: true }) choices?: string[];
}

/** How often a build is tried again by itself. */
export class RetryBounds {
  /** After attempts that the farm spoiled: a lost worker, a dead engine. */
  @IsInt() @Min(0) infrastructure!: number;
  /** After attempts that the code failed. */
  @IsInt() @Min(0) failure!: number;
}

export const DEFAULT_RETRY: Readonly<RetryBounds> = { infrastructure: 2, failure: 0 };

/** How long what the builds of a builder leave is kept, from their end on; what has no age is kept for ever. */
export class Retention {
  /** The builds themselves, with all that is theirs. */
  @IsOptional() @IsInt() @IsPositive() buildsMs?: number;
  @IsOptional() @IsInt() @IsPositive() logsMs?: number;
  @IsOptional() @IsInt() @IsPositive() artifactsMs?: number;
  /** So many finished builds, the newest, keep everything at any age. */
  @IsInt() @Min(0) keep!: number;
}

/** What was built last stays to be looked at, however long ago it was. */
export const DEFAULT_KEEP = 1;

/**
 * A builder as read from a farm file, with defaults filled in: plain JSON, kept with each request so that a
 * build runs with what was in force when it was asked for. Expressions are still in it; `expand` renders them.
 */
export class BuilderDefinition {
  @IsOptional() @IsString() description?: string;
  @IsOptional() @ValidateNested() @Type(() => PlannedSource) source?: PlannedSource;
  @IsOptional() @IsString() image?: string;
  /** Labels a worker must all have. */
  @IsArray() @IsString({ each: true }) labels!: string[];
  /** Names of the workers that may run it; any when empty. */
  @IsArray() @IsString({ each: true }) workers!: string[];
  @IsObject() env!: Record<string, string>;
  /** Name to `PropertyDefinition`. */
  @IsObject() properties!: Record<string, PropertyDefinition>;
  @IsInt() @IsPositive() timeoutMs!: number;
  /** Of the steps that have none of their own. */
  @IsOptional() @IsInt() @IsPositive() silenceTimeoutMs?: number;
  /** `DEFAULT_RETRY` when absent. */
  @IsOptional() @ValidateNested() @Type(() => RetryBounds) retry?: RetryBounds;
  /** How long its worker may be silent before another takes the build; the master's own when absent. */
  @IsOptional() @IsInt() @IsPositive() lostAfterMs?: number;
  /** Everything is kept when absent. */
  @IsOptional() @ValidateNested() @Type(() => Retention) retention?: Retention;
  @IsArray() @ValidateNested({ each: true }) @Type(() => StepDefinition) steps!: StepDefinition[];
  @IsArray() @IsString({ each: true }) artifacts!: string[];
}

/** What a farm file says. */
export interface Farm {
  /** In the order of the file. */
  builders: Map<string, BuilderDefinition>;
}
