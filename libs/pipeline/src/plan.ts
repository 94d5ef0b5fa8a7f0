import 'reflect-metadata';
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsIn,
  IsInt,
  IsNotEmpty,
  IsObject,
  IsOptional,
  IsPositive,
  IsString,
  MaxLength,
  Min,
  ValidateNested,
} from 'class-validator';

/**
 * What a step does. `checkout` brings the source into the workspace, `run` runs commands in a container,
 * `artifacts` collects files and sends them to the master. The farm adds the first and the last by itself,
 * so that their time, output and failures show like those of any other step.
 */
export const STEP_KINDS = ['checkout', 'run', 'artifacts'] as const;
export type StepKind = (typeof STEP_KINDS)[number];

/** Where the source of a build comes from. */
export class PlannedSource {
  /** Address that `git fetch` understands: https, ssh, git, file or a path. */
  @IsString() @IsNotEmpty() git!: string;
  /** Branch, tag or full commit id; the repository's default branch when absent. */
  @IsOptional() @IsString() ref?: string;
}

/** One step, with everything merged and interpolated: nothing is looked up on the worker. */
export class PlannedStep {
  @IsIn(STEP_KINDS) kind!: StepKind;
  @IsString() @IsNotEmpty() @MaxLength(100) name!: string;
  /** Shell text, run by `sh -e -c` (`run` steps only). */
  @IsOptional() @IsString() run?: string;
  /** Image reference (`run` steps of the docker executor). */
  @IsOptional() @IsString() image?: string;
  /** Environment of this step: builder's, then step's; values are strings. */
  @IsObject() env!: Record<string, string>;
  /** Directory below the workspace, relative, without `..`; the workspace itself when absent. */
  @IsOptional() @IsString() workdir?: string;
  /** The step is stopped after this many milliseconds; no limit of its own when absent. */
  @IsOptional() @IsInt() @IsPositive() timeoutMs?: number;
  /** The step is stopped when it has written nothing for this many milliseconds; it may be silent when absent. */
  @IsOptional() @IsInt() @IsPositive() silenceTimeoutMs?: number;
  /** What it writes to stderr goes to stdout too, as one stream in exact order; they are apart when absent. */
  @IsOptional() @IsIn(['merged']) output?: 'merged';
}

/** What a worker gets to run: the rendered definition of one build. Steps run in order of their index. */
export class BuildPlan {
  @IsString() builder!: string;
  /** The build's number, per builder, from 1. */
  @IsInt() @Min(1) number!: number;
  @IsOptional() @ValidateNested() @Type(() => PlannedSource) source?: PlannedSource;
  @IsArray()
  @ArrayMaxSize(1000)
  @ValidateNested({ each: true })
  @Type(() => PlannedStep)
  steps!: PlannedStep[];
  /** Globs below the workspace, as picomatch reads them. */
  @IsArray() @IsString({ each: true }) artifacts!: string[];
  /** Name to value; strings. */
  @IsObject() properties!: Record<string, string>;
  /** The whole build is stopped after this many milliseconds. */
  @IsInt() @IsPositive() timeoutMs!: number;
}
