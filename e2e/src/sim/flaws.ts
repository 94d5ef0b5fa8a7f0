/**
 * Mistakes that can be planted in the code that the simulation runs, to see that its invariants find them. In the
 * source each is a comment `@flaw NAME: code` at the place where it would be made, so that what is built, shipped
 * and tested otherwise does not have it; here the comment becomes code while the module is loaded.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { register } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The compiled code in which flaws may stand. */
const FOLDERS = ['@impgem/protocol', '@impgem/testkit'].map((name) =>
  fileURLToPath(new URL('.', import.meta.resolve(name))),
);
const FLAW = /\/\* @flaw ([a-z-]+): .*? \*\//gs;

/** Names of all there are. */
export function flawNames(): string[] {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(folder).flatMap((name) => (name.endsWith('.js') ? [join(folder, name)] : [])),
  );
  const names = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(FLAW)].map(([, name = '']) => name),
  );
  return [...new Set(names)].sort();
}

/** From here on modules are loaded with the flaw in them. */
export function plant(name: string): void {
  const names = flawNames();
  if (!names.includes(name)) throw new Error(`no flaw ${name}; there are ${names.join(', ')}`);
  register('./flaw-loader.js', { parentURL: import.meta.url, data: { name } });
}
