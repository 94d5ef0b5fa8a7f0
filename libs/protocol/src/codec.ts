import 'reflect-metadata';
import { jsonExcess, cutText } from '@impgem/kit';
import { plainToInstance } from 'class-transformer';
import { validateSync, type ValidationError } from 'class-validator';
import { proofOf } from './proof.js';
import {
  MASTER_MESSAGES,
  WORKER_MESSAGES,
  type MasterMessage,
  type WorkerMessage,
} from './messages.js';

/** A control frame that is not one of ours: not JSON, of an unknown type, or of the wrong shape. */
export class MessageError extends Error {
  override name = 'MessageError';
}

/** Of a message that comes in; ours are far below, hostile ones would end the stack. */
const BOUNDS = { depth: 16, values: 100_000 };

type Registry = Record<string, new () => object>;

/**
 * The two doors of one direction. `parse` throws `MessageError` for anything but a well-formed message;
 * `stringify` throws it too, since a malformed message that we send is our bug and shows best at its source.
 */
function codec<Message extends { type: string }>(registry: Registry) {
  const proofs = new Map(
    Object.entries(registry).map(([type, shape]) => [type, proofOf(shape, 'type')]),
  );
  const isProven = (plain: unknown): plain is Message =>
    typeof plain === 'object' &&
    plain !== null &&
    (proofs.get((plain as { type: string }).type)?.(plain) ?? false);
  const check = (plain: unknown): Message => {
    if (typeof plain !== 'object' || plain === null || Array.isArray(plain))
      throw new MessageError('a control frame is a JSON object');
    const { type, ...fields } = plain as { type?: unknown };
    const shape =
      typeof type === 'string' && Object.hasOwn(registry, type) ? registry[type] : undefined;
    if (!shape)
      throw new MessageError(
        `unknown message type ${cutText(JSON.stringify(type) ?? 'undefined', 60)}`,
      );
    const message = shaped(shape, fields);
    const problem = firstProblem(
      validateSync(message, { whitelist: true, forbidUnknownValues: false }),
    );
    if (problem) throw new MessageError(`${String(type)}: ${problem}`);
    return Object.assign(message, { type }) as unknown as Message;
  };
  return {
    parse(text: string): Message {
      let plain: unknown;
      try {
        plain = JSON.parse(text);
      } catch {
        throw new MessageError('a control frame is JSON');
      }
      const excess = jsonExcess(plain, BOUNDS);
      if (excess !== undefined) throw new MessageError(excess);
      return isProven(plain) ? plain : check(plain);
    },
    stringify(message: Message): string {
      if (!isProven(message)) check(message);
      return JSON.stringify(message);
    },
  };
}

/** The library trips over some shapes, e.g. a list with a null where an object is told by a member of it. */
function shaped(shape: new () => object, fields: object): object {
  try {
    return plainToInstance(shape, fields);
  } catch (cause) {
    throw new MessageError('a field is of the wrong shape', { cause });
  }
}

/** The first violation, with its path: `plan.steps.0.name should not be empty`. */
function firstProblem(errors: ValidationError[], path = ''): string | undefined {
  const [error] = errors;
  if (!error) return undefined;
  const here = path ? `${path}.${error.property}` : error.property;
  const text = Object.values(error.constraints ?? {})[0];
  return text ? `${here}: ${text}` : firstProblem(error.children ?? [], here);
}

/** What workers send. */
export const workerCodec = codec<WorkerMessage>(WORKER_MESSAGES);
/** What masters send. */
export const masterCodec = codec<MasterMessage>(MASTER_MESSAGES);
