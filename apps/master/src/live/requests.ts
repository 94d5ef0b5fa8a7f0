/** What clients may say on the live socket; the shapes are `LiveRequest` of the client library. */
import { FarmError, cutText } from '@impgem/kit';
import { plainToInstance } from 'class-transformer';
import {
  IsIn,
  IsInt,
  IsNotEmpty,
  IsOptional,
  IsString,
  Max,
  MaxLength,
  Min,
  validateSync,
} from 'class-validator';
import { nearest } from '../platform/index.js';

class Named {
  /** The client's name for the subscription, unique on its socket. */
  @IsString() @IsNotEmpty() @MaxLength(100) id!: string;
}
export class SubscribeEvents extends Named {
  @IsIn(['subscribe']) type!: 'subscribe';
  @IsIn(['events']) topic!: 'events';
  @IsOptional() @IsInt() @Min(1) @Max(Number.MAX_SAFE_INTEGER) build?: number;
  @IsOptional() @IsString() @MaxLength(50) after?: string;
}
export class SubscribeLog extends Named {
  @IsIn(['subscribe']) type!: 'subscribe';
  @IsIn(['log']) topic!: 'log';
  @IsInt() @Min(1) @Max(Number.MAX_SAFE_INTEGER) build!: number;
  @IsInt() @Min(0) @Max(65_535) step!: number;
  @IsOptional() @IsInt() @Min(0) @Max(Number.MAX_SAFE_INTEGER) offset?: number;
}
class Unsubscribe extends Named {
  @IsIn(['unsubscribe']) type!: 'unsubscribe';
}
export type Request = SubscribeEvents | SubscribeLog | Unsubscribe;

const TYPES = ['subscribe', 'unsubscribe'];
const TOPICS = ['events', 'log'];

/** Throws `invalid-request`, with `id` in its details when the message has one. */
export function parseRequest(text: string): Request {
  const given = parseObject(text);
  const id = typeof given.id === 'string' ? cutText(given.id, 100) : null;
  const shape = shapeOf(given, id);
  const request = plainToInstance<Request, object>(shape, given);
  const [problem] = validateSync(request, { whitelist: true, forbidNonWhitelisted: true });
  if (!problem) return request;
  const known = ['type', 'id', 'topic', 'build', 'after', 'step', 'offset'];
  const like = problem.constraints?.whitelistValidation
    ? nearest(problem.property, known)
    : undefined;
  const said = Object.values(problem.constraints ?? {})[0] ?? `${problem.property} is wrong`;
  throw refuse(like && like !== problem.property ? `${said}; did you mean ${like}?` : said, id);
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse('the message is not JSON', null);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refuse('a message is a JSON object', null);
  return value as Record<string, unknown>;
}

function shapeOf(given: Record<string, unknown>, id: string | null): new () => Request {
  if (given.type === 'unsubscribe') return Unsubscribe;
  if (given.type !== 'subscribe') throw refuse(oneOf('type', given.type, TYPES), id);
  if (given.topic === 'events') return SubscribeEvents;
  if (given.topic === 'log') return SubscribeLog;
  throw refuse(oneOf('topic', given.topic, TOPICS), id);
}

function oneOf(field: string, value: unknown, names: string[]): string {
  const shown = cutText(JSON.stringify(value) ?? 'missing', 60);
  return `${field} is ${shown}; it is one of ${names.join(', ')}`;
}

function refuse(message: string, id: string | null): FarmError {
  return new FarmError('invalid-request', message, { id });
}
