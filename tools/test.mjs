#!/usr/bin/env node
// `npm test`: sets up what is missing, then lints, compiles and runs every test there is; the last line counts them.
//   npm test [-- TARGET…]     only these targets, e.g. `npm test -- lint unit`
// What the machine has when this ends is what it had before: containers, volumes, networks, images, mounts and
// processes are listed and compared (packages that apt-get installed stay).
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { askText, findEngine } from './engine.mjs';
import { TEST_IMAGES, ensureImage } from './images.mjs';
import { leftOver, snapshot } from './machine.mjs';
import {
  SetupError,
  aptInstall,
  isDebian,
  isRoot,
  onPath,
  root,
  run,
  say,
  stopRunning,
} from './process.mjs';
import { build, install, nx } from './setup.mjs';

const bin = (name) => join(root, 'node_modules/.bin', name);
const projects = (target, parallel) => [
  process.execPath,
  [nx(), 'run-many', '-t', target, `--parallel=${parallel}`, '--output-style=static'],
];

// by name: given the folder, Node would take this file for a test as well
const toolTests = readdirSync(join(root, 'tools'))
  .filter((name) => name.endsWith('.test.mjs'))
  .map((name) => `tools/${name}`);

/** What runs, in order; `budget` in seconds on two cores; `needs` names what the machine must have. */
const TARGETS = [
  {
    name: 'lint',
    budget: 40,
    commands: [
      [bin('oxlint'), ['--deny-warnings']],
      [bin('prettier'), ['--check', '--log-level', 'warn', '.']],
      [bin('knip'), []],
      [process.execPath, ['tools/boundaries.mjs']],
      [process.execPath, ['tools/configuration.mjs', '--check']],
      [process.execPath, ['tools/openapi.mjs', '--check']],
      [process.execPath, ['libs/pipeline/scripts/schema.mjs', '--check']],
    ],
  },
  { name: 'types', budget: 20, commands: [[bin('tsc'), ['-b']]] },
  {
    name: 'tools',
    budget: 20,
    tests: [process.execPath, ['--test', '--test-reporter=tap', ...toolTests]],
  },
  { name: 'unit', budget: 60, tests: projects('test', 2) },
  { name: 'db', budget: 60, tests: projects('db-test', 1) },
  { name: 'sim', budget: 40, tests: projects('sim', 1) },
  { name: 'docker', budget: 100, needs: ['engine'], tests: projects('docker-test', 1) },
  { name: 'e2e', budget: 200, needs: ['engine', 'git'], tests: projects('e2e', 1) },
  { name: 'chaos', budget: 60, needs: ['engine', 'git'], tests: projects('chaos', 1) },
  {
    name: 'browser',
    budget: 60,
    needs: ['engine', 'git', 'chromium'],
    tests: projects('browser', 1),
  },
  { name: 'compose', budget: 180, needs: ['engine', 'compose'], tests: projects('compose', 1) },
];

const count = { passed: 0, failed: 0, skipped: 0 };
const used = [];
let stopping = false;

async function timed(name, budget, work) {
  const start = Date.now();
  say(`\n── ${name} ──`);
  try {
    await work();
  } finally {
    used.push({ name, budget, seconds: (Date.now() - start) / 1000 });
  }
}

function failed(what) {
  count.failed += 1;
  say(`FAILED: ${what}`);
}

/** Takes the numbers out of what Jest has written, and removes it. Returns how many tests it told of. */
function countJest(results) {
  let told = 0;
  for (const file of readdirSync(results)) {
    const json = JSON.parse(readFileSync(join(results, file), 'utf8'));
    count.passed += json.numPassedTests;
    count.failed += json.numFailedTests + json.numRuntimeErrorTestSuites;
    count.skipped += json.numPendingTests + json.numTodoTests;
    told += json.numFailedTests + json.numRuntimeErrorTestSuites;
    rmSync(join(results, file));
  }
  return told;
}

function countTap(text) {
  const number = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  count.passed += number('pass');
  count.failed += number('fail');
  return number('fail');
}

async function runTarget(target, { results, env }) {
  // a target that hangs is stopped, and what it used is told all the same
  const options = { check: false, timeoutMs: target.budget * 5_000, env };
  for (const [command, args] of target.commands ?? []) {
    const { status } = await run(command, args, options);
    const what = [command.split('/').pop(), ...args].join(' ');
    if (status === 0) count.passed += 1;
    else failed(`${what} (exit ${status})`);
  }
  if (!target.tests) return;
  const tap = target.name === 'tools';
  const [command, args] = target.tests;
  const { status, out, timedOut } = await run(command, args, { ...options, capture: tap });
  const told = tap ? countTap(out) : countJest(results);
  if (tap && status !== 0) say(out);
  if (status !== 0 && told === 0) {
    failed(
      `${target.name}: ${timedOut ? `stopped after ${target.budget * 5} s` : `exit ${status}`}`,
    );
  }
}

const chromium = () =>
  process.env.CHROMIUM ??
  onPath('chromium') ??
  onPath('chromium-browser') ??
  onPath('google-chrome');

/** What tests need of the machine; Debian's packages where something is missing and we may. */
async function prepare() {
  const wanted = [
    ['git', 'git'],
    ['ip', 'iproute2'],
    ['iptables', 'iptables'],
    ['docker-compose', 'docker-compose'],
  ];
  const packages = wanted.filter(([program]) => !onPath(program)).map(([, name]) => name);
  if (!chromium()) packages.push('chromium');
  if (packages.length && isRoot() && isDebian()) {
    say(`The tests need ${packages.join(', ')}; this will install them (and they stay installed).`);
    await aptInstall(packages, 'for the tests').catch((error) => say(error.message));
  }
  return { git: onPath('git'), chromium: chromium(), compose: onPath('docker-compose') };
}

/** The base images of the tests; what is made or pulled here is removed when the tests have ended. */
async function prepareImages(host) {
  const mine = [];
  for (const image of TEST_IMAGES) {
    if ((await ensureImage(host, image)) !== 'here') mine.push(image);
  }
  return mine;
}

/** Removes what was made here, and the holder image that workers make in an engine (and leave, to start faster). */
async function removeImages(host, images, before) {
  const now = await snapshot(host);
  const holders = [...now.images]
    .filter(([id, { text }]) => !before.images.has(id) && text.startsWith('impgem/holder:'))
    .map(([, { text }]) => text.split(' ')[0]);
  for (const image of [...images.toReversed(), ...holders]) {
    await askText(host, 'DELETE', `/images/${encodeURIComponent(image)}`).catch(() => undefined);
  }
}

async function main(names) {
  const chosen = TARGETS.filter(({ name }) => names.length === 0 || names.includes(name));
  const has = {};
  let host;
  let engine;
  await timed('set-up', 60, async () => {
    await install();
    await build().catch((error) => failed(`build: ${error.message}`));
    if (!chosen.some(({ needs }) => needs)) return;
    Object.assign(has, await prepare());
    try {
      engine = await findEngine(join(root, '.impgem'));
      host = engine.host;
      has.engine = true;
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      say(error.message);
    }
  });
  const before = await snapshot(host);
  const temporary = mkdtempSync(join(tmpdir(), 'impgem-test-'));
  // Postgres runs as another user when we are root
  chmodSync(temporary, 0o755);
  const results = mkdtempSync(join(tmpdir(), 'impgem-results-'));
  const env = {
    TMPDIR: temporary,
    IMPGEM_TEST_RESULTS: results,
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    ...(host ? { DOCKER_HOST: host } : {}),
    ...(has.chromium ? { CHROMIUM: has.chromium } : {}),
  };
  // images take a minute to make where there is no registry: they are made while lint and unit tests run
  const images = host ? prepareImages(host) : Promise.resolve([]);
  images.catch(() => {});
  try {
    for (const target of chosen) {
      if (stopping) break;
      const missing = (target.needs ?? []).filter((need) => !has[need]);
      if (missing.length) {
        count.skipped += 1;
        say(`\n!!! SKIPPED: ${target.name}: this machine has no ${missing.join(', no ')} !!!`);
        continue;
      }
      await timed(target.name, target.budget, async () => {
        if (target.needs?.includes('engine')) await images;
        await runTarget(target, { results, env });
      }).catch((error) => failed(`${target.name}: ${error.message}`));
    }
  } finally {
    const mine = await images.catch((error) => (failed(`images: ${error.message}`), []));
    if (host) await removeImages(host, mine, before);
    rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
    rmSync(results, { recursive: true, force: true });
  }
  await timed('left over', 15, async () => {
    const found = await leftOver(before, host);
    for (const line of found) say(line);
    if (found.length) failed(`${found.length} things differ from before the tests`);
    else count.passed += 1;
  });
  await engine?.stop();
  if (engine?.note) say(engine.note);
}

function report() {
  say('\ntarget       used   budget');
  for (const { name, budget, seconds } of used) {
    const over = seconds > budget ? '  over its budget' : '';
    say(
      `${name.padEnd(10)} ${seconds.toFixed(0).padStart(4)} s ${String(budget).padStart(6)} s${over}`,
    );
  }
  const all = used.reduce((sum, { seconds }) => sum + seconds, 0);
  say(`${'all'.padEnd(10)} ${all.toFixed(0).padStart(4)} s ${String(600).padStart(6)} s`);
  const skipped = count.skipped ? `, ${count.skipped} skipped` : '';
  process.stdout.write(`${count.passed} passed, ${count.failed} failed${skipped}\n`);
  process.exitCode = count.failed || stopping ? 1 : 0;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    stopping = true;
    stopRunning();
  });
}
try {
  await main(process.argv.slice(2));
} catch (error) {
  failed(error instanceof SetupError ? error.message : error.stack);
}
report();
