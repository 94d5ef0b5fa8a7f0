// Whether the programs are there and newer than what they are made from. Nx would tell, too, but without its daemon it
// writes what it finds in its cache over what is there, also below programs that run.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** What is made of each app; of a build that was broken off it is not there. */
const PROGRAMS = {
  master: 'bundle/main.js',
  worker: 'bundle/main.js',
  cli: 'bundle/main.js',
  web: 'dist/index.html',
};

/** What an app is made from, beside its own folder. */
const SHARED = ['libs', 'tools/rolldown.mjs', 'package-lock.json', 'tsconfig.base.json', 'nx.json'];

/** Not sources: made by us, or by npm. */
const MADE = new Set(['node_modules', 'dist', 'dist-types', 'bundle']);

/** When anything at or below `path` was last written, added, moved or removed: ms since the epoch. */
function lastChange(path) {
  const entry = statSync(path);
  if (!entry.isDirectory()) return entry.mtimeMs;
  const names = readdirSync(path);
  const sources = names.filter((name) => !MADE.has(name));
  // a folder changes when a name in it comes or goes, so that of an app does when it is built
  const own = sources.length === names.length ? entry.mtimeMs : 0;
  return Math.max(own, ...sources.map((name) => lastChange(join(path, name))));
}

export class Built {
  constructor(root) {
    this.root = root;
  }

  #stamp(app) {
    return join(this.root, '.nx/built', app);
  }

  /** The apps of these (all: none given) that must be built. */
  stale(apps = []) {
    const shared = Math.max(...SHARED.map((path) => lastChange(join(this.root, path))));
    return (apps.length ? apps : Object.keys(PROGRAMS)).filter((app) => {
      const folder = join(this.root, 'apps', app);
      const stamp = this.#stamp(app);
      if (!existsSync(stamp) || !existsSync(join(folder, PROGRAMS[app]))) return true;
      return Math.max(shared, lastChange(folder)) >= statSync(stamp).mtimeMs;
    });
  }

  /** Builds `apps` by `make`, and remembers that they are as new as their sources were when it began. */
  async by(apps, make) {
    const began = new Date();
    for (const app of apps) rmSync(this.#stamp(app), { force: true });
    await make();
    mkdirSync(join(this.root, '.nx/built'), { recursive: true });
    for (const app of apps) {
      writeFileSync(this.#stamp(app), '');
      utimesSync(this.#stamp(app), began, began);
    }
  }
}
