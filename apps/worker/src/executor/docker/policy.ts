import { FarmError } from '@impgem/kit';
import { plainToInstance } from 'class-transformer';
import {
  ArrayMaxSize,
  IsArray,
  IsIn,
  IsInt,
  IsNumber,
  IsOptional,
  IsPositive,
  IsString,
  Matches,
  Min,
  validateSync,
} from 'class-validator';
import type { ValidationError } from 'class-validator';
import { readFile } from 'node:fs/promises';
import 'reflect-metadata';
import { parse } from 'yaml';

/**
 * What builds may have on this worker: the worker's own word, which no master can overrule. Everything absent
 * keeps its safe default. Sizes in bytes.
 */
export class Policy {
  /** Image references that steps may use; `*` stands for any characters. All when absent. */
  @IsOptional() @IsArray() @ArrayMaxSize(1000) @IsString({ each: true }) images?: string[];
  /** `bridge`: steps reach the network, through a bridge of their own; `none`: they reach nothing. */
  @IsOptional() @IsIn(['bridge', 'none']) network: 'bridge' | 'none' = 'bridge';
  /** Host folders that every step sees, as `/host/path:/path` or `/host/path:/path:ro`. */
  @IsOptional()
  @IsArray()
  @Matches(/^\/[^:]*:\/[^:]*(:ro)?$/, { each: true })
  mounts: string[] = [];
  /** Capabilities beyond the seven that steps have, e.g. `SYS_PTRACE`. */
  @IsOptional()
  @IsArray()
  @Matches(/^[A-Z][A-Z_]+$/, { each: true })
  capabilities: string[] = [];
  /** Images that are never removed to make room; `*` stands for any characters. */
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(1000)
  @IsString({ each: true })
  pinnedImages: string[] = [];
  /** The most memory of a step. */
  @IsOptional() @IsInt() @Min(6 * 1024 * 1024) memory?: number;
  /** The most processors of a step. */
  @IsOptional() @IsNumber() @IsPositive() cpus?: number;
  /** The most processes of a step. */
  @IsOptional() @IsInt() @IsPositive() pids?: number;
}

function complaints(errors: readonly ValidationError[]): string[] {
  return errors.flatMap(({ property, constraints = {} }) =>
    Object.entries(constraints).map(([rule, text]) =>
      rule === 'whitelistValidation'
        ? `${property}: no such key; there are ${KEYS.join(', ')}`
        : `${property}: ${text}`,
    ),
  );
}

const KEYS = [
  'images',
  'network',
  'mounts',
  'capabilities',
  'pinnedImages',
  'memory',
  'cpus',
  'pids',
];

/** Reads a policy from YAML text; throws a `FarmError` that names the file and each bad key. */
export function parsePolicy(text: string, file: string): Policy {
  let problems: string[];
  try {
    const plain: unknown = parse(text) ?? {};
    if (typeof plain !== 'object' || Array.isArray(plain)) throw new Error('it is no mapping');
    const policy = plainToInstance(Policy, plain);
    problems = complaints(
      validateSync(policy, {
        whitelist: true,
        forbidNonWhitelisted: true,
        forbidUnknownValues: true,
      }),
    );
    if (problems.length === 0) return policy;
  } catch (cause) {
    problems = [(cause as Error).message];
  }
  throw new FarmError('policy', `the policy file ${file} is not right: ${problems.join('; ')}`);
}

/** The policy in `file`, or the defaults when none is named. */
export async function loadPolicy(file: string | undefined): Promise<Policy> {
  if (file === undefined) return new Policy();
  try {
    return parsePolicy(await readFile(file, 'utf8'), file);
  } catch (cause) {
    if (cause instanceof FarmError) throw cause;
    throw new FarmError(
      'policy',
      `the policy file ${file} cannot be read: ${String(cause)}`,
      {},
      { cause },
    );
  }
}

/** Throws a `FarmError` of code `policy` when steps may not use the image. */
export function checkImage(policy: Policy, image: string): void {
  const { images } = policy;
  if (images === undefined || images.some((pattern) => globMatches(pattern, image))) return;
  throw new FarmError(
    'policy',
    `the image ${image} is not allowed on this worker; its policy lists ${images.join(', ') || 'none'}`,
  );
}

/** Whether the image must stay on this worker. */
export function isPinned({ pinnedImages }: Policy, image: string): boolean {
  return pinnedImages.some((pattern) => globMatches(pattern, image));
}

function globMatches(pattern: string, text: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
}

/** A step that gets more than the defaults may leave traces in its holder that no reset finds. */
export function loosened(policy: Policy): boolean {
  return policy.capabilities.length > 0;
}
