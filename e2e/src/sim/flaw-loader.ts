/** Runs in Node's thread for loading modules; see `flaws.ts`. */
import type { InitializeHook, LoadHook } from 'node:module';

let mark = '';

export const initialize: InitializeHook<{ name: string }> = ({ name }) => {
  mark = `/* @flaw ${name}: `;
};

export const load: LoadHook = async (url, context, next) => {
  const loaded = await next(url, context);
  if (loaded.format !== 'module' || !loaded.source) return loaded;
  const [head = '', ...rest] = String(
    typeof loaded.source === 'string' ? loaded.source : Buffer.from(loaded.source as Uint8Array),
  ).split(mark);
  if (rest.length === 0) return loaded;
  return { ...loaded, source: head + rest.map((part) => part.replace(' */', ' ')).join('') };
};
