import { existsSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FarmError } from '@impgem/kit';

/** The built program of another app, beside this one. Throws when it is not built. */
export function programOf(app: 'master' | 'worker', name = 'main'): string {
  const file = fileURLToPath(new URL(`../../${app}/bundle/${name}.js`, import.meta.url));
  if (!existsSync(file))
    throw new FarmError('not-built', `${file} is not there: build the programs with npm run build`);
  return file;
}

/** A file of the quick start. */
export const exampleOf = (path: string): string =>
  fileURLToPath(new URL(`../../../examples/quickstart/${path}`, import.meta.url));

/** How this very program is run from the current folder: no name that a registry could serve. */
export const ownCommand = (): string =>
  `node ${relative(process.cwd(), fileURLToPath(new URL('../bin/impgem.js', import.meta.url)))}`;
