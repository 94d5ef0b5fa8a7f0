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
  ValidateBy,
  validateSync,
} from 'class-validator';
import type { ValidationError, ValidationOptions } from 'class-validator';
import { readFile } from 'node:fs/promises';
import 'reflect-metadata';
import { parse } from 'yaml';
import { readBlock } from './blocks.js';

const isBlock = (value: unknown): boolean =>
  value === 'metadata' || (typeof value === 'string' && readBlock(value) !== undefined);

const IsBlock = (options: ValidationOptions): PropertyDecorator =>
  ValidateBy(
    {
      name: 'isBlock',
      validator: {
        validate: isBlock,
        defaultMessage: () =>
          'has addresses and networks such as 10.0.0.0/8 or fd00::/8, and metadata',
      },
    },
    options,
  );

/**
 * What builds may have on this worker: the worker's own word, which no master can overrule. Everything absent
 * keeps its safe default. Sizes in bytes.
 */
export class Policy {
  /** Image references that steps may use; `*` stands for any characters. All when absent. */
  @IsOptional() @IsArray() @ArrayMaxSize(1000) @IsString({ each: true }) images?: string[];
  /**
   * Networks and addresses that steps cannot reach, IPv4 and IPv6; `metadata` stands for those where clouds hand out
   * the machine's credentials.
   */
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(200)
  @IsBlock({ each: true })
  blocked: string[] = ['metadata'];
  /**
   * `deny`: steps do not reach the engine's own machine by any of its addresses, and so no port of the engine, of a
   * database or of the master that listens there; `allow`: they do.
   */
  @IsOptional() @IsIn(['deny', 'allow']) host: 'deny' | 'allow' = 'deny';
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
  /**
   * The most disk of a step's container beside the workspace, in bytes; for an engine that can limit it (overlay2 on xfs
   * with pquota), which refuses steps otherwise. No limit when absent.
   */
  @IsOptional() @IsInt() @Min(16 * 1024 * 1024) disk?: number;
  /**
   * The most disk of a build's workspace, in bytes; for an engine that can limit its volumes (its data on xfs with pquota),
   * which refuses builds otherwise. No limit when absent.
   */
  @IsOptional() @IsInt() @Min(16 * 1024 * 1024) workspace?: number;
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
  'blocked',
  'host',
  'network',
  'mounts',
  'capabilities',
  'pinnedImages',
  'memory',
  'cpus',
  'disk',
  'workspace',
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

/** Where the names of images lie that the farm makes for itself; and the one that earlier versions used. */
export const OWN_HOST = 'impgem.invalid';
export const OWN_OLD = 'impgem/holder';

/** Throws a `FarmError` of code `policy` when steps may not use the image. */
export function checkImage(policy: Policy, image: string): void {
  const { images } = policy;
  if (isOwn(image)) throw ownImage(image);
  if (images === undefined || images.some((pattern) => globMatches(pattern, image))) return;
  throw new FarmError(
    'policy',
    `the image ${image} is not allowed on this worker; its policy lists ${images.join(', ') || 'none'}`,
  );
}

/** The farm's own images run with rights that steps do not have, so that no step may bring or use one. */
export function ownImage(image: string): FarmError {
  return new FarmError('policy', `the image ${image} is the farm's own: no step may use it`);
}

/** By any spelling: a port, capitals, a tag, a digest, the registry that is meant when none is named. */
function isOwn(image: string): boolean {
  const [name = ''] = image.toLowerCase().split('@');
  const [first = '', ...rest] = name.replace(/:[^/:]*$/, '').split('/');
  const host = first.replace(/:\d*$/, '').replace(/\.$/, '');
  if (host === OWN_HOST || host.endsWith(`.${OWN_HOST}`)) return true;
  const isHub = /^(?:[a-z0-9-]+\.)?docker\.io$/.test(host);
  return (isHub ? rest : [first, ...rest]).join('/') === OWN_OLD;
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
