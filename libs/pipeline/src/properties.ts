import { cutText } from '@impgem/kit';
import type { BuilderDefinition } from './definition.js';
import { tryExpand } from './expand.js';
import { nearest } from './nearest.js';
import type { FileProblem } from './problem.js';
import { MAX_PROPERTY } from './read-builder.js';

/** A property that cannot be taken; the code is the REST interface's. */
export interface PropertyProblem extends FileProblem {
  code: 'undeclared-property' | 'invalid-property';
}

/** Of one answer: each undeclared name is compared with all declared ones. */
const MOST_PROBLEMS = 20;

/**
 * The properties of a build from those that were given and the defaults. Each given one must be declared, be a
 * text, and be one of the choices when there are some; the plan must hold with them. A property that is neither
 * given nor has a default is left out.
 */
export function resolveProperties(
  definition: BuilderDefinition,
  given: Readonly<Record<string, unknown>>,
): { properties: Record<string, string>; problems: PropertyProblem[] } {
  const declared = Object.entries(definition.properties);
  const names = declared.map(([name]) => name);
  const problems: PropertyProblem[] = Object.keys(given)
    .filter((name) => !names.includes(name))
    .slice(0, MOST_PROBLEMS)
    .map((name) => ({
      code: 'undeclared-property',
      path: `properties.${name}`,
      message: undeclared(name, names),
    }));
  const properties: Record<string, string> = {};
  for (const [name, { default: preset, required, choices }] of declared) {
    const value = Object.hasOwn(given, name) ? given[name] : preset;
    const problem = valueProblem(value, required, choices);
    if (problem !== undefined)
      problems.push({ code: 'invalid-property', path: `properties.${name}`, message: problem });
    else if (typeof value === 'string') properties[name] = value;
  }
  if (problems.length === 0) {
    const { problem } = tryExpand(definition, { name: 'builder', number: 1, properties });
    if (problem !== undefined)
      problems.push({ code: 'invalid-property', path: 'properties', message: problem });
  }
  return { properties, problems };
}

function undeclared(name: string, names: string[]): string {
  const near = nearest(name, names);
  const shown = cutText(name, 80, '...');
  if (near !== undefined) return `the builder has no property ${shown}; did you mean ${near}?`;
  const all = names.length > 0 ? `it has ${names.join(', ')}` : 'it has none';
  return `the builder has no property ${shown}; ${all}`;
}

function valueProblem(
  value: unknown,
  required: boolean,
  choices: readonly string[] | undefined,
): string | undefined {
  if (value === undefined || value === '')
    return required ? 'it must be given, and not be empty' : notAChoice(value, choices);
  if (typeof value !== 'string') return 'the value must be a text';
  if (value.length > MAX_PROPERTY) return `the value has more than ${MAX_PROPERTY} characters`;
  if (/\0|\p{Surrogate}/u.test(value))
    return 'the value has a NUL character or half of a surrogate pair in it';
  return notAChoice(value, choices);
}

function notAChoice(value: string | undefined, choices?: readonly string[]): string | undefined {
  if (value === undefined || !choices || choices.includes(value)) return undefined;
  return `the value must be one of ${choices.join(', ')}`;
}
