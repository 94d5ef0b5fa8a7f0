import { storableText } from '@impgem/kit';

/** The same value, with U+FFFD for each character that cannot be stored. Changes objects in place. */
export function storable<T>(value: T): T {
  if (typeof value === 'string') return storableText(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  const fields = value as Record<string, unknown>;
  for (const [key, field] of Object.entries(fields)) {
    const clean = storable(key);
    if (clean !== key) delete fields[key];
    fields[clean] = storable(field);
  }
  return value;
}
