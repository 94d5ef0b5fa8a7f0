// Copies apps and everything that they need at run time into a folder:
//   node docker/collect.mjs FOLDER APP…      e.g. /out/worker apps/worker
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** What runs of a project of this repository. */
const BUILT = ['package.json', 'dist', 'bin'];
/** Named as needed by a peer of TypeScript alone. */
const COMPILER = /node_modules\/(typescript|@typescript\/.*)$/;

/** Half of all files in packages: for people and compilers. */
const UNUSED = /\.([cm]?ts|map|md)$/;

const [folder, ...apps] = process.argv.slice(2);
const root = process.cwd();
const which = apps.flatMap((app) => ['-w', app]);
// its exit code tells of peers as well, which `npm ci` has accepted
const { stdout } = spawnSync(
  'npm',
  ['ls', '--all', '--parseable', '--omit=dev', '--omit=optional', ...which],
  { encoding: 'utf8', maxBuffer: 2 ** 24 },
);
const needed = stdout.split('\n').filter((path) => path.includes('/node_modules/'));
if (needed.length === 0) throw new Error('npm names no packages');

const copyBuilt = (project) => {
  for (const name of BUILT) {
    const from = join(root, project, name);
    if (existsSync(from)) cpSync(from, join(folder, project, name), { recursive: true });
  }
};
apps.forEach(copyBuilt);
cpSync(join(root, 'package.json'), join(folder, 'package.json'));
for (const path of needed.filter((one) => !COMPILER.test(one))) {
  const to = join(folder, relative(root, path));
  const real = realpathSync(path);
  if (real === path) {
    cpSync(path, to, { recursive: true, filter: (file) => !UNUSED.test(file) });
    continue;
  }
  const project = relative(root, real);
  copyBuilt(project);
  mkdirSync(dirname(to), { recursive: true });
  symlinkSync(relative(dirname(to), join(folder, project)), to);
}
