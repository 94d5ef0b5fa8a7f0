import { ValidationPipe } from '@nestjs/common';
import { FarmError, cutText } from '@impgem/kit';
import type { FileProblem } from '@impgem/client';
import { getMetadataStorage, type ValidationError } from 'class-validator';
import { nearest } from '../nearest.js';

/** Of one answer: each unknown key is compared with all known ones, and nobody reads hundreds. */
const MOST_PROBLEMS = 20;

/** Checks bodies and queries against their classes; unknown keys are errors that name the nearest known one. */
export function validationPipe(): ValidationPipe {
  return new ValidationPipe({
    whitelist: true,
    forbidNonWhitelisted: true,
    transform: true,
    stopAtFirstError: true,
    // The class is needed to name its known keys; Nest leaves it out otherwise.
    validationError: { target: true, value: false },
    exceptionFactory: (errors) => {
      const problems = problemsOf(errors.slice(0, MOST_PROBLEMS)).slice(0, MOST_PROBLEMS);
      const more = errors.length - MOST_PROBLEMS;
      const text = problems.map(({ path, message }) => `${cutText(path, 200)}: ${message}`);
      if (more > 0) text.push(`and ${more} more`);
      return new FarmError('invalid-request', text.join('; '), { problems });
    },
  });
}

/** One problem per bad field, with its path as `a.b[0].c`. */
export function problemsOf(errors: readonly ValidationError[], parent = ''): FileProblem[] {
  return errors.flatMap((error) => {
    const isIndex = /^\d+$/.test(error.property);
    const step = isIndex ? `[${error.property}]` : `${parent && '.'}${error.property}`;
    const path = `${parent}${step}`;
    const own = Object.entries(error.constraints ?? {}).map(([rule, message]) => ({
      path,
      message: rule === 'whitelistValidation' ? unknownKey(error) : message,
    }));
    return [...own, ...problemsOf(error.children ?? [], path)];
  });
}

function unknownKey({ target, property }: ValidationError): string {
  const known = target ? knownKeys(target.constructor) : [];
  const near = nearest(property, known);
  if (near !== undefined) return `unknown key; did you mean ${near}?`;
  return known.length > 0 ? `unknown key; known are ${known.join(', ')}` : 'unknown key';
}

function knownKeys(shape: unknown): string[] {
  const rules = getMetadataStorage().getTargetValidationMetadatas(
    shape as () => void,
    '',
    false,
    false,
  );
  return [...new Set(rules.map(({ propertyName }) => propertyName))];
}
