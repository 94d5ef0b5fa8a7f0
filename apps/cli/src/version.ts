import { readFileSync } from 'node:fs';

const about = readFileSync(new URL('../package.json', import.meta.url), 'utf8');

/** Of this program. */
export const VERSION = (JSON.parse(about) as { version: string }).version;
