import type { PropertyDefinition } from '@impgem/client';

type Definitions = Record<string, PropertyDefinition>;

/** What the form begins with: given values (of an earlier build), else the defaults, else nothing. */
export function initialValues(
  definitions: Definitions,
  given: Record<string, string> = {},
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(definitions).map(([name, definition]) => {
      const value = given[name] ?? definition.default ?? '';
      const allowed = definition.choices === null || definition.choices.includes(value);
      return [name, allowed ? value : ''];
    }),
  );
}

/** Names of the required properties that have no value yet. */
export function missingValues(definitions: Definitions, values: Record<string, string>): string[] {
  return Object.entries(definitions)
    .filter(([name, definition]) => definition.required && !values[name])
    .map(([name]) => name);
}

/**
 * What is sent: only what differs from the default, so that the request stays as the builder declares it; an
 * emptied field is sent as empty when its default is not.
 */
export function chosenValues(
  definitions: Definitions,
  values: Record<string, string>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => value !== (definitions[name]?.default ?? '')),
  );
}
