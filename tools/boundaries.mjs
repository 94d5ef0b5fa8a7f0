#!/usr/bin/env node
// Who may import whom. One table feeds the check of every import in the tree and the pictures in ARCHITECTURE.md.
//   node tools/boundaries.mjs            ends 1 and names each import that is not allowed
//   node tools/boundaries.mjs --write    also draws the pictures anew
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseSync } from 'oxc-parser';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Every project of the workspace and the projects it may import. Nothing imports an app. */
export const PROJECTS = {
  kit: { dir: 'libs/kit', may: [] },
  pipeline: { dir: 'libs/pipeline', may: ['kit'] },
  protocol: { dir: 'libs/protocol', may: ['kit', 'pipeline'] },
  client: { dir: 'libs/client', may: ['kit'] },
  testkit: { dir: 'libs/testkit', may: ['kit', 'protocol', 'pipeline', 'client'] },
  master: { dir: 'apps/master', may: ['kit', 'protocol', 'pipeline', 'client'] },
  worker: { dir: 'apps/worker', may: ['kit', 'protocol', 'pipeline'] },
  cli: { dir: 'apps/cli', may: ['kit', 'pipeline', 'client'] },
  web: { dir: 'apps/web', may: ['kit', 'pipeline', 'client'] },
  e2e: { dir: 'e2e', may: ['kit', 'protocol', 'pipeline', 'client', 'testkit'] },
  bench: { dir: 'bench', may: ['kit', 'protocol', 'pipeline', 'client', 'testkit', 'e2e'] },
};

/** Tags that each project carries, one of each dimension, and what a project with the tag may see. */
export const TAGS = {
  type: { app: ['lib'], lib: ['lib'], test: ['lib', 'test'] },
  runtime: { any: ['any'], node: ['any', 'node'], browser: ['any', 'browser'] },
  scope: {
    shared: ['shared'],
    master: ['master', 'shared'],
    worker: ['worker', 'shared'],
    cli: ['cli', 'shared'],
    web: ['web', 'shared'],
  },
};

/** Packages that only some folders may import; a trailing `*` stands for any rest of the name. */
export const EXTERNAL = [
  { packages: ['@nestjs/*', 'typeorm', 'fastify', '@fastify/*'], only: ['apps/master'] },
  { packages: ['pg'], only: ['apps/master', 'libs/testkit', 'bench'] },
  { packages: ['dockerode'], only: ['apps/worker/src/executor/docker', 'libs/testkit', 'e2e'] },
  {
    packages: ['react', 'react-dom', 'react/*', 'react-dom/*', '@mantine/*', '@tanstack/*'],
    only: ['apps/web'],
  },
  { packages: ['playwright-core'], only: ['e2e'] },
];

/**
 * Folders inside an app and those they may import, always through their index.ts. Files that lie beside the folders
 * (main.ts, app.module.ts) put them together and may import all.
 */
export const ZONES = {
  'apps/master/src': {
    platform: [],
    access: ['platform'],
    events: ['access', 'platform'],
    builders: ['events', 'access', 'platform'],
    artifacts: ['events', 'access', 'platform'],
    logs: ['artifacts', 'events', 'access', 'platform'],
    journal: ['scheduling', 'events', 'access', 'platform'],
    scheduling: ['builders', 'events', 'access', 'platform'],
    builds: ['scheduling', 'artifacts', 'builders', 'events', 'access', 'platform'],
    workers: ['scheduling', 'journal', 'artifacts', 'events', 'access', 'platform'],
    live: ['logs', 'events', 'access', 'platform'],
    retention: ['access', 'platform'],
  },
  'apps/worker/src': {
    executor: [],
    workspace: ['executor'],
    spool: [],
    build: ['executor', 'workspace', 'spool'],
    session: ['build', 'spool'],
    disk: ['executor'],
  },
};

/** Folders whose subfolders know nothing of each other: the layer above puts them together. */
const STRANGERS = ['apps/web/src/features'];

/** The environment is read here and nowhere else. */
const READS_ENVIRONMENT = /(^|\/)config(\.ts$|\/)/;

const isTest = (path) =>
  /\.test\.tsx?$|(^|\/)(contract|testing)\.ts$|(^|\/)contract\//.test(path) ||
  /^(e2e|bench|libs\/testkit)\//.test(path);

const matches = (pattern, name) =>
  pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;

const packageOf = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

const projectOf = (path) =>
  Object.keys(PROJECTS).find((name) => path.startsWith(`${PROJECTS[name].dir}/`));

/** What a file imports: `{ specifier, line, typeOnly }` each, dynamic imports of literals and re-exports too. */
export function importsOf(path, text) {
  const parsed = parseSync(path, text);
  const lineAt = (offset) => text.slice(0, offset).split('\n').length;
  const found = [];
  const { staticImports, staticExports, dynamicImports } = parsed.module;
  for (const one of staticImports) {
    const typeOnly = one.entries.length > 0 && one.entries.every((entry) => entry.isType);
    found.push({ specifier: one.moduleRequest.value, line: lineAt(one.start), typeOnly });
  }
  for (const one of staticExports) {
    for (const entry of one.entries) {
      if (!entry.moduleRequest) continue;
      const { value } = entry.moduleRequest;
      found.push({ specifier: value, line: lineAt(one.start), typeOnly: entry.isType });
    }
  }
  for (const one of dynamicImports) {
    const literal = /^['"]([^'"]+)['"]$/.exec(
      text.slice(one.moduleRequest.start, one.moduleRequest.end),
    );
    if (literal) found.push({ specifier: literal[1], line: lineAt(one.start), typeOnly: false });
  }
  return { imports: found, comments: parsed.comments };
}

/** The file that a relative import means; undefined when it is not in the tree (a style sheet, say). */
function resolveRelative(files, from, specifier) {
  const to = normalize(join(dirname(from), specifier));
  const bare = to.replace(/\.(js|jsx)$/, '');
  return [to, `${bare}.ts`, `${bare}.tsx`, `${to}.ts`, `${to}.tsx`, `${to}/index.ts`].find((path) =>
    files.has(path),
  );
}

/**
 * Checks a tree: `files` maps paths to texts, `packages` project folders to their package.json. Returns problems as
 * `path:line: what`, empty when all is well.
 */
export function check({ files, packages }) {
  const problems = checkTags(packages);
  const graph = new Map();
  for (const [path, text] of files) {
    const { imports, comments } = importsOf(path, text);
    const edges = [];
    for (const one of imports) {
      const target = one.specifier.startsWith('.')
        ? resolveRelative(files, path, one.specifier)
        : undefined;
      const why = one.specifier.startsWith('.')
        ? target && whyNotInside(path, target)
        : whyNotPackage(path, one, packages);
      if (why) problems.push(`${path}:${one.line}: ${why}`);
      if (target && !one.typeOnly) edges.push(target);
    }
    graph.set(path, edges);
    problems.push(...checkEnvironment(path, text, comments));
  }
  for (const cycle of cyclesOf(graph))
    problems.push(`${cycle[0]}:1: a cycle: ${cycle.join(' → ')}`);
  return problems;
}

function checkTags(packages) {
  const problems = [];
  for (const [dir, json] of packages) {
    const known = Object.values(PROJECTS).some((project) => project.dir === dir);
    if (!known) problems.push(`${dir}/package.json:1: not in the table of tools/boundaries.mjs`);
    for (const [dimension, values] of Object.entries(TAGS)) {
      const tags = (json.nx?.tags ?? []).filter((tag) => tag.startsWith(`${dimension}:`));
      if (tags.length !== 1 || !values[tags[0].slice(dimension.length + 1)]) {
        const one = Object.keys(values).join('|');
        problems.push(`${dir}/package.json:1: needs one tag ${dimension}:${one}, has [${tags}]`);
      }
    }
  }
  for (const [name, { dir }] of Object.entries(PROJECTS)) {
    if (!packages.has(dir)) problems.push(`tools/boundaries.mjs:1: no project ${name} at ${dir}`);
  }
  return problems;
}

const tagOf = (json, dimension) =>
  (json?.nx?.tags ?? [])
    .find((tag) => tag.startsWith(`${dimension}:`))
    ?.slice(dimension.length + 1);

/** Why this file may not import that package; undefined when it may. */
function whyNotPackage(path, { specifier }, packages) {
  const from = projectOf(path);
  const json = packages.get(PROJECTS[from]?.dir);
  if (specifier.startsWith('node:')) {
    return tagOf(json, 'runtime') !== 'node' && !isTest(path)
      ? `${specifier} in a project that also runs without Node (runtime:${tagOf(json, 'runtime')})`
      : undefined;
  }
  if (specifier.startsWith('@impgem/')) return whyNotProject(path, from, specifier, packages);
  const rule = EXTERNAL.find(({ packages: names }) =>
    names.some((name) => matches(name, specifier) || matches(name, packageOf(specifier))),
  );
  if (rule && !rule.only.some((dir) => path.startsWith(`${dir}/`))) {
    return `${packageOf(specifier)} is for ${rule.only.join(', ')} only`;
  }
  return undefined;
}

function whyNotProject(path, from, specifier, packages) {
  const name = specifier.slice('@impgem/'.length);
  const to = PROJECTS[name];
  if (!to) return `there is no project ${specifier}; a project shows its index alone`;
  if (name === from) return 'a project imports its own files by relative paths';
  if (to.dir.startsWith('apps/')) return 'nothing imports an app';
  if (name === 'testkit') return isTest(path) ? undefined : '@impgem/testkit is for tests only';
  if (!PROJECTS[from].may.includes(name)) {
    return `${from} may import ${PROJECTS[from].may.join(', ') || 'no project'}`;
  }
  for (const [dimension, values] of Object.entries(TAGS)) {
    const mine = tagOf(packages.get(PROJECTS[from].dir), dimension);
    const its = tagOf(packages.get(to.dir), dimension);
    if (mine && its && !values[mine]?.includes(its)) {
      return `${dimension}:${mine} does not see ${dimension}:${its}`;
    }
  }
  return undefined;
}

/** Why this file may not import that one of the same tree; undefined when it may. */
function whyNotInside(path, target) {
  if (projectOf(path) !== projectOf(target))
    return `leaves its project by a relative path (${target})`;
  for (const [dir, zones] of Object.entries(ZONES)) {
    const from = zoneOf(dir, path);
    const to = zoneOf(dir, target);
    if (!to || from === to) continue;
    if (!zones[to]) return `${dir}/${to} is not in the table of tools/boundaries.mjs`;
    if (from && !zones[from]) return `${dir}/${from} is not in the table of tools/boundaries.mjs`;
    if (from && !isTest(path) && !zones[from].includes(to)) {
      return `${from} may import ${zones[from].join(', ') || 'no other folder'}, not ${to}`;
    }
    if (from && !isTest(path) && !/^[^/]+\/index\.ts$/.test(target.slice(dir.length + 1))) {
      if (target !== `${dir}/executor/executor.ts`) return `reaches behind ${dir}/${to}/index.ts`;
    }
  }
  for (const dir of STRANGERS) {
    const from = zoneOf(dir, path);
    const to = zoneOf(dir, target);
    if (from && to && from !== to)
      return `${dir}/${from} does not know ${to}: a route puts them together`;
  }
  return undefined;
}

/** The folder right below `dir` that a file lies in; undefined for files beside the folders or elsewhere. */
function zoneOf(dir, path) {
  if (!path.startsWith(`${dir}/`)) return undefined;
  const parts = path.slice(dir.length + 1).split('/');
  return parts.length > 1 ? parts[0] : undefined;
}

function checkEnvironment(path, text, comments) {
  if (READS_ENVIRONMENT.test(path) || isTest(path)) return [];
  const problems = [];
  for (const { index } of text.matchAll(/\bprocess\.env\b/g)) {
    if (comments.some(({ start, end }) => start <= index && index < end)) continue;
    const line = text.slice(0, index).split('\n').length;
    // handing it on to a child whole is no reading; whoever does so says why
    if (/no-process-env -- \S/.test(text.split('\n')[line - 2] ?? '')) continue;
    problems.push(`${path}:${line}: process.env is read in config.ts only`);
  }
  return problems;
}

/** Cycles of value imports, each once, from its first file. */
export function cyclesOf(graph) {
  const state = new Map();
  const stack = [];
  const cycles = [];
  const visit = (path) => {
    state.set(path, 'open');
    stack.push(path);
    for (const next of graph.get(path) ?? []) {
      if (state.get(next) === 'open') cycles.push([...stack.slice(stack.indexOf(next)), next]);
      else if (!state.has(next)) visit(next);
    }
    stack.pop();
    state.set(path, 'done');
  };
  for (const path of graph.keys()) if (!state.has(path)) visit(path);
  return cycles;
}

/** Edges without those that follow from others, so that the picture stays readable. */
function reduced(edges) {
  const reach = (from, to, direct) =>
    (edges[from] ?? []).some(
      (next) => (next !== to || !direct) && (next === to || reach(next, to, false)),
    );
  return Object.entries(edges).flatMap(([from, all]) =>
    all.filter((to) => !reach(from, to, true)).map((to) => `  ${from} --> ${to}`),
  );
}

const draw = (edges) => ['```mermaid', 'flowchart TD', ...reduced(edges), '```'].join('\n');

/** The pictures of ARCHITECTURE.md, by the name of their markers. */
export function pictures() {
  const projects = Object.fromEntries(
    Object.entries(PROJECTS).map(([name, { may }]) => [name, may]),
  );
  return {
    projects: draw(projects),
    master: draw(ZONES['apps/master/src']),
    worker: draw(ZONES['apps/worker/src']),
  };
}

/** A document with its pictures drawn anew between `<!-- picture: name -->` and `<!-- end -->`. */
export function withPictures(text) {
  return Object.entries(pictures()).reduce(
    (all, [name, picture]) =>
      all.replace(
        new RegExp(`(<!-- picture: ${name} -->)[\\s\\S]*?(<!-- end -->)`),
        (_, open, close) => `${open}\n\n${picture}\n\n${close}`,
      ),
    text,
  );
}

/** Reads the tree from the disk. */
export function readTree() {
  const files = new Map();
  const packages = new Map();
  const read = (dir) => {
    for (const entry of readdirSync(join(root, dir), { withFileTypes: true })) {
      const path = `${dir}/${entry.name}`;
      if (entry.isDirectory()) read(path);
      else if (/\.tsx?$/.test(path)) files.set(path, readFileSync(join(root, path), 'utf8'));
    }
  };
  const dirs = ['apps', 'libs'].flatMap((top) =>
    readdirSync(join(root, top)).map((name) => `${top}/${name}`),
  );
  for (const dir of [...dirs, 'e2e', 'bench']) {
    packages.set(dir, JSON.parse(readFileSync(join(root, dir, 'package.json'), 'utf8')));
    read(`${dir}/src`);
  }
  return { files, packages };
}

function main() {
  const tree = readTree();
  const problems = check(tree);
  const page = join(root, 'ARCHITECTURE.md');
  const text = readFileSync(page, 'utf8');
  const drawn = withPictures(text);
  if (drawn !== text) {
    if (process.argv.includes('--write')) writeFileSync(page, drawn);
    else
      problems.push(
        'ARCHITECTURE.md:1: pictures differ from the table: node tools/boundaries.mjs --write',
      );
  }
  for (const problem of problems) console.error(problem);
  console.error(`boundaries: ${tree.files.size} files, ${problems.length} problems`);
  process.exitCode = problems.length ? 1 : 0;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main();
