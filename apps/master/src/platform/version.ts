import { existsSync, readFileSync } from 'node:fs';

/** Of the package that this file is a part of, at whatever depth: as a source it lies deeper than in the bundle. */
function packageFile(): URL {
  let file = new URL('package.json', import.meta.url);
  while (!existsSync(file)) file = new URL('../package.json', file);
  return file;
}

const about = readFileSync(packageFile(), 'utf8');

/** Of this program. */
export const VERSION = (JSON.parse(about) as { version: string }).version;
