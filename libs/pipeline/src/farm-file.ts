import 'reflect-metadata';
/**
 * The shape of the farm file, one class for each kind of object in it. What classes cannot say (names of
 * builders and properties, references, globs) is checked in `read-farm-file.ts`.
 */
import { Type } from 'class-transformer';
import {
  ArrayMaxSize,
  ArrayNotEmpty,
  IsArray,
  IsBoolean,
  IsDefined,
  IsIn,
  IsInt,
  IsNotEmpty,
  IsObject,
  IsOptional,
  IsString,
  Max,
  MaxLength,
  Min,
  ValidateNested,
  type ValidationArguments,
} from 'class-validator';

/** What a value is, in the words of the messages. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return (
    { string: 'a text', number: 'a number', boolean: 'true or false' }[typeof value as string] ??
    '?'
  );
}

const must = (be: string) => ({
  message: ({ value, property }: ValidationArguments) =>
    `${property} must be ${be}, but is ${kindOf(value)}`,
});
const EACH_STEP = {
  each: true,
  message: 'each step is a map, e.g. { name: test, run: make test }',
};
const notEmpty = (what: string) => ({
  message: ({ property }: ValidationArguments) => `${property} is empty: ${what}`,
});
const atMost = (n: number, what: string) => ({
  message: ({ property }: ValidationArguments) => `${property} has more than ${n} ${what}`,
});

/** Where the source of a build comes from. */
export class SourceInFile {
  @IsString(must('a text'))
  @IsNotEmpty(notEmpty('give the address of a git repository'))
  git!: string;
  @IsOptional()
  @IsString(must('a text'))
  @IsNotEmpty(notEmpty('name a branch, tag or commit'))
  ref?: string;
}

/** One step: a shell text, run in a container. */
export class StepInFile {
  @IsOptional()
  @IsString(must('a text'))
  @IsNotEmpty(notEmpty('give the step a name'))
  @MaxLength(100, atMost(100, 'characters'))
  name?: string;
  @IsDefined({ message: 'the step has no run: say what it shall do' })
  @IsString(must('a text'))
  @IsNotEmpty(notEmpty('say what the step shall do'))
  @MaxLength(65_536, atMost(65_536, 'characters: put it into a script of the repository'))
  run!: string;
  @IsOptional() @IsString(must('a text')) @IsNotEmpty(notEmpty('name an image')) image?: string;
  @IsOptional() @IsObject(must('a map of names and values')) env?: Record<string, unknown>;
  @IsOptional() @IsString(must('a text')) workdir?: string;
  @IsOptional() @IsString(must('a text such as 90s, 5m or 1h30m')) timeout?: string;
  @IsOptional()
  @IsString(must('a text such as 90s, 5m or 1h30m'))
  'silence-timeout'?: string;
  @IsOptional()
  @IsIn(['separate', 'merged'], { message: 'output must be separate or merged' })
  output?: 'separate' | 'merged';
}

/** A property that whoever triggers the builder may set. */
export class PropertyInFile {
  @IsOptional()
  @IsString(must('a text'))
  @MaxLength(2000, atMost(2000, 'characters'))
  description?: string;
  /** Any scalar; taken as it is written. */
  @IsOptional() default?: unknown;
  @IsOptional() @IsBoolean(must('true or false')) required?: boolean;
  @IsOptional()
  @IsArray(must('a list'))
  @ArrayNotEmpty(notEmpty('list the allowed values, or leave it out'))
  @ArrayMaxSize(200, atMost(200, 'values'))
  choices?: unknown[];
}

const RETRIES = {
  message: ({ value, property }: ValidationArguments) =>
    `${property} must be a whole number from 0 to 10, but is ${typeof value === 'number' ? value : kindOf(value)}`,
};

/** How often a build is tried again by itself. */
export class RetryInFile {
  @IsOptional() @IsInt(RETRIES) @Min(0, RETRIES) @Max(10, RETRIES) infrastructure?: number;
  @IsOptional() @IsInt(RETRIES) @Min(0, RETRIES) @Max(10, RETRIES) failure?: number;
}

const AGE = must('a text such as 12h, 30d or forever');
const KEPT = {
  message: ({ value, property }: ValidationArguments) =>
    `${property} must be a whole number from 0 to 10000, but is ${typeof value === 'number' ? value : kindOf(value)}`,
};

/** How long what builds leave is kept. */
export class RetentionInFile {
  @IsOptional() @IsString(AGE) builds?: string;
  @IsOptional() @IsString(AGE) logs?: string;
  @IsOptional() @IsString(AGE) artifacts?: string;
  @IsOptional() @IsInt(KEPT) @Min(0, KEPT) @Max(10_000, KEPT) keep?: number;
}

/** A builder: a recipe with a name. */
export class BuilderInFile {
  @IsOptional()
  @IsString(must('a text'))
  @MaxLength(2000, atMost(2000, 'characters'))
  description?: string;
  @IsOptional()
  @IsObject(must('an address or a map with git and ref'))
  @ValidateNested()
  @Type(() => SourceInFile)
  source?: SourceInFile;
  @IsOptional() @IsString(must('a text')) @IsNotEmpty(notEmpty('name an image')) image?: string;
  @IsOptional()
  @IsArray(must('a list of labels'))
  @ArrayMaxSize(32, atMost(32, 'labels'))
  @IsString({ each: true, message: 'each label must be a text' })
  labels?: string[];
  @IsOptional()
  @IsArray(must('a list of names'))
  @ArrayNotEmpty(notEmpty('name a worker, or leave it out for any'))
  @ArrayMaxSize(100, atMost(100, 'names'))
  @IsString({ each: true, message: 'each name of a worker must be a text' })
  workers?: string[];
  @IsOptional() @IsObject(must('a map of names and values')) env?: Record<string, unknown>;
  @IsOptional() @IsObject(must('a map of names and definitions')) properties?: Record<
    string,
    unknown
  >;
  @IsOptional() @IsString(must('a text such as 90s, 30m or 1h30m')) timeout?: string;
  @IsOptional()
  @IsString(must('a text such as 90s, 5m or 1h30m'))
  'silence-timeout'?: string;
  @IsOptional()
  @IsObject(must('a map with infrastructure and failure'))
  @ValidateNested()
  @Type(() => RetryInFile)
  retry?: RetryInFile;
  @IsOptional() @IsString(must('a text such as 90s or 5m')) 'lost-after'?: string;
  @IsOptional()
  @IsObject(must('a map with builds, logs, artifacts and keep'))
  @ValidateNested()
  @Type(() => RetentionInFile)
  retention?: RetentionInFile;
  @IsDefined({ message: 'the builder has no steps: list at least one' })
  @IsArray(must('a list of steps'))
  @ArrayNotEmpty(notEmpty('list at least one step'))
  @ArrayMaxSize(500, atMost(500, 'steps'))
  // a list in the list would be looked into
  @IsObject(EACH_STEP)
  @ValidateNested(EACH_STEP)
  @Type(() => StepInFile)
  steps!: StepInFile[];
  @IsOptional()
  @IsArray(must('a list of globs'))
  @ArrayMaxSize(100, atMost(100, 'globs'))
  @IsString({ each: true, message: 'each glob must be a text' })
  artifacts?: string[];
}

/** The whole file. */
export class FarmInFile {
  @IsDefined({ message: 'the file has no builders' })
  @IsObject(must('a map of names and builders'))
  builders!: Record<string, unknown>;
  @IsOptional()
  @IsObject(must('a map with builds, logs, artifacts and keep'))
  @ValidateNested()
  @Type(() => RetentionInFile)
  retention?: RetentionInFile;
}
