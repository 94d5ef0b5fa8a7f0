#!/usr/bin/env node
// `npm test`: sets up what is missing, then lints, compiles and runs every test there is; the last line counts them.
//   npm test [-- TARGET…]     only these targets, e.g. `npm test -- lint unit`
// What the machine has when this ends is what it had before: containers, volumes, networks, images, mounts and
// processes are listed and compared (packages that apt-get installed stay).
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endEngineObjects, endProcesses } from './ending.mjs';
import { askText, findEngine } from './engine.mjs';
import { DEBIAN_IMAGE, QUICK_START_IMAGE, TEST_IMAGES, ensureImage } from './images.mjs';
import { leftOver, snapshot } from './machine.mjs';
import { patience } from './patience.mjs';
import { SetupError, aptInstall, isDebian, isRoot, onPath, root, run, say } from './process.mjs';
import { build, install } from './setup.mjs';

const bin = (name) => join(root, 'node_modules/.bin', name);
const script = (workspace, name) => ['npm', ['run', '--silent', name, '-w', workspace]];

// by name: given the folder, Node would take this file for a test as well
const toolTests = readdirSync(join(root, 'tools'))
  .filter((name) => name.endsWith('.test.mjs'))
  .map((name) => `tools/${name}`);

/**
 * What runs; `budget` in seconds on an ordinary machine, beside the others; `needs` names what the machine must have, `images` what its engine must.
 * The lanes run side by side, the targets of one in this order: what keeps the processors busy, what mostly waits, and
 * what works the engine. Before them goes what may still write compiled files, after them what measures.
 */
const TARGETS = [
  {
    name: 'lint',
    lane: 'compute',
    budget: 120,
    commands: [
      [bin('oxlint'), ['--deny-warnings']],
      [process.execPath, ['tools/format.mjs']],
      [bin('knip'), []],
      [process.execPath, ['tools/boundaries.mjs']],
      [process.execPath, ['tools/configuration.mjs', '--check']],
      [process.execPath, ['tools/openapi.mjs', '--check']],
      [process.execPath, ['libs/pipeline/scripts/schema.mjs', '--check']],
    ],
  },
  { name: 'types', lane: 'first', budget: 20, commands: [[bin('tsc'), ['-b']]] },
  {
    name: 'tools',
    lane: 'compute',
    budget: 20,
    tests: [process.execPath, ['--test', '--test-reporter=tap', ...toolTests]],
  },
  { name: 'unit', lane: 'compute', budget: 180, tests: [process.execPath, ['tools/jest.mjs']] },
  { name: 'db', lane: 'compute', budget: 300, tests: script('apps/master', 'db-test') },
  { name: 'sim', lane: 'compute', budget: 60, tests: script('e2e', 'sim') },
  {
    name: 'e2e',
    lane: 'wait',
    budget: 480,
    needs: ['engine', 'git'],
    images: [QUICK_START_IMAGE, DEBIAN_IMAGE],
    tests: script('e2e', 'e2e'),
  },
  {
    name: 'chaos',
    lane: 'wait',
    budget: 120,
    needs: ['engine', 'git'],
    images: [QUICK_START_IMAGE],
    tests: script('e2e', 'chaos'),
  },
  {
    name: 'compose',
    lane: 'engine',
    budget: 320,
    needs: ['engine', 'compose'],
    images: TEST_IMAGES,
    tests: script('e2e', 'compose'),
  },
  {
    name: 'docker',
    lane: 'engine',
    budget: 180,
    needs: ['engine'],
    images: TEST_IMAGES,
    tests: script('apps/worker', 'docker-test'),
  },
  {
    name: 'browser',
    lane: 'engine',
    budget: 100,
    needs: ['engine', 'git', 'chromium'],
    images: [QUICK_START_IMAGE],
    tests: script('e2e', 'browser'),
  },
  {
    name: 'bench',
    lane: 'last',
    budget: 90,
    needs: ['engine'],
    images: [QUICK_START_IMAGE],
    commands: [['npm', ['run', '--silent', 'bench', '--', 'smoke']]],
  },
];

/** Seconds for all of it, on an ordinary machine. */
const BUDGET = 480;
/** How many times slower this machine is: measured first of all, it multiplies every budget and limit. */
let slower = 1;

const count = { passed: 0, failed: 0, skipped: 0 };
const used = [];
/** What a broken-off run must end: `{ temporary, results, engine, made }`, as far as they are there. */
const under = {};
/** Settles when a broken-off run has ended everything; undefined while none is broken off. */
let broken;
const began = Date.now();

/** `work` is given `tell`, whose lines come out together when it has ended: others work at the same time. */
async function timed(name, budget, work) {
  const start = Date.now();
  const lines = [];
  say(`── ${name} … ──`);
  try {
    await work((line) => lines.push(line));
  } finally {
    const seconds = (Date.now() - start) / 1000;
    used.push({ name, budget: budget * slower, seconds });
    say([`\n── ${name}: ${seconds.toFixed(0)} s ──`, ...lines].join('\n'));
  }
}

function failed(what, tell = say) {
  count.failed += 1;
  tell(`FAILED: ${what}`);
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

async function runTarget(target, { results, env, tell }) {
  // a target that hangs is stopped, and what it used is told all the same
  const timeoutMs = target.budget * slower * 3_000;
  const options = { check: false, capture: true, timeoutMs };
  for (const [command, args] of target.commands ?? []) {
    if (broken) return;
    const { status, text } = await run(command, args, { ...options, env });
    if (text.trim()) tell(text.trim());
    const what = [command.split('/').pop(), ...args].join(' ');
    if (status === 0) count.passed += 1;
    else failed(`${what} (exit ${status})`, tell);
  }
  if (!target.tests) return;
  const own = join(results, target.name);
  mkdirSync(own);
  const tap = target.name === 'tools';
  const [command, args] = target.tests;
  const ran = await run(command, args, { ...options, env: { ...env, IMPGEM_TEST_RESULTS: own } });
  const { status, out, text, timedOut } = ran;
  const told = tap ? countTap(out) : countJest(own);
  if (!tap || status !== 0) tell(text.trim());
  if (status !== 0 && told === 0) {
    const why = timedOut ? `stopped after ${(timeoutMs / 1000).toFixed(0)} s` : `exit ${status}`;
    failed(`${target.name}: ${why}`, tell);
  }
}

/** The targets of one lane, one after the other. `made` tells when an image is there. */
async function runLane(targets, { has, made, ...context }) {
  for (const target of targets) {
    if (broken) break;
    const missing = (target.needs ?? []).filter((need) => !has[need]);
    if (missing.length) {
      count.skipped += 1;
      say(`\n!!! SKIPPED: ${target.name}: this machine has no ${missing.join(', no ')} !!!`);
      continue;
    }
    await Promise.all((target.images ?? []).map((image) => made.get(image)));
    await timed(target.name, target.budget, async (tell) => {
      await runTarget(target, { ...context, tell });
    }).catch((error) => failed(`${target.name}: ${error.message}`));
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

/**
 * Makes the base images of the tests, one after the other; where there is no registry they take a minute, in which
 * packages are installed. By name: a promise of `here`, `made` or `pulled`. What was not here is removed at the end.
 */
function makeImages(host) {
  const made = new Map();
  let last = Promise.resolve();
  for (const image of host ? TEST_IMAGES : []) {
    last = last.catch(() => {}).then(() => (broken ? 'here' : ensureImage(host, image)));
    last.catch(() => {});
    made.set(image, last);
  }
  return made;
}

/** Those that were not here before; a failure counts as one. */
async function newImages(made) {
  const found = [];
  for (const [image, how] of made) {
    try {
      if ((await how) !== 'here') found.push(image);
    } catch (error) {
      failed(`image ${image}: ${error.message}`);
    }
  }
  return found;
}

/** Removes what was made here, and the holder image that workers make in an engine (and leave, to start faster). */
async function removeImages(host, images, before) {
  const now = await snapshot(host);
  const holders = [...now.images]
    .filter(([id, { text }]) => !before.images.has(id) && text.startsWith('impgem.invalid/holder:'))
    .map(([, { text }]) => text.split(' ')[0]);
  for (const image of [...images.toReversed(), ...holders]) {
    await askText(host, 'DELETE', `/images/${encodeURIComponent(image)}`).catch(() => undefined);
  }
}

async function main(names) {
  const chosen = TARGETS.filter(({ name }) => names.length === 0 || names.includes(name));
  const has = {};
  slower = await patience();
  if (slower > 1) say(`This machine is ${slower} times slower than an ordinary one.`);
  let host;
  let engine;
  if (chosen.some(({ needs }) => needs)) {
    await timed('machine', 30, async () => {
      Object.assign(has, await prepare());
      engine = await findEngine(join(root, '.impgem-engine')).catch((error) => {
        if (!(error instanceof SetupError)) throw error;
        say(error.message);
      });
      under.engine = engine;
      host = engine?.host;
      has.engine = engine !== undefined;
    });
  }
  const before = await snapshot(host);
  const temporary = (under.temporary = mkdtempSync(join(tmpdir(), 'impgem-test-')));
  // Postgres runs as another user when we are root
  chmodSync(temporary, 0o755);
  const results = (under.results = mkdtempSync(join(tmpdir(), 'impgem-results-')));
  const env = {
    TMPDIR: temporary,
    IMPGEM_TEST_FARMS: join(temporary, 'farms'),
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    ...(host ? { DOCKER_HOST: host } : {}),
    ...(has.chromium ? { CHROMIUM: has.chromium } : {}),
  };
  mkdirSync(env.IMPGEM_TEST_FARMS);
  const made = (under.made = makeImages(host));
  const inLane = (name) => chosen.filter(({ lane }) => lane === name);
  try {
    await timed('set-up', 120, async () => {
      await install();
      await build().catch((error) => failed(`build: ${error.message}`));
    });
    const context = { has, made, results, env };
    await runLane(inLane('first'), context);
    const lanes = ['compute', 'wait', 'engine'].map(inLane);
    await Promise.all(lanes.map((lane) => runLane(lane, context)));
    await runLane(inLane('last'), context);
  } finally {
    await broken;
    const mine = await newImages(made);
    if (host) await removeImages(host, mine, before);
    rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
    rmSync(results, { recursive: true, force: true });
  }
  await timed('left over', 15, async (tell) => {
    const found = await leftOver(before, host);
    for (const line of found) tell(line);
    if (found.length) failed(`${found.length} things differ from before the tests`, tell);
    else count.passed += 1;
  });
  await engine?.stop();
  if (engine?.note) say(engine.note);
}

function report() {
  say('\ntarget       used   budget');
  const all = { name: 'all', budget: BUDGET * slower, seconds: (Date.now() - began) / 1000 };
  for (const { name, budget, seconds } of [...used, all]) {
    const over = seconds > budget ? '  over its budget' : '';
    say(
      `${name.padEnd(10)} ${seconds.toFixed(0).padStart(4)} s ${budget.toFixed(0).padStart(6)} s${over}`,
    );
  }
  const skipped = count.skipped ? `, ${count.skipped} skipped` : '';
  process.stdout.write(`${count.passed} passed, ${count.failed} failed${skipped}\n`);
  process.exitCode = count.failed || broken ? 1 : 0;
}

/** Ends all that was started, within ten seconds on an ordinary machine, and asks nobody to hurry twice. */
async function breakOff() {
  say('Broken off: ending all that runs …');
  const { temporary, results, engine, made } = under;
  // before it exists, nothing carries its name
  const mark = temporary ?? join(tmpdir(), 'impgem-test-none');
  const ended = await endProcesses(mark, { spared: engine?.pid });
  if (temporary && engine) {
    await endEngineObjects(engine.host, temporary, ended, engine.pid !== undefined);
    // what is still being made is made by nobody now
    for (const [image, how] of made ?? []) {
      const now = await Promise.race([how, undefined]).catch(() => undefined);
      if (now && now !== 'here')
        await askText(engine.host, 'DELETE', `/images/${encodeURIComponent(image)}`);
    }
  }
  await engine?.stop(3_000);
  for (const folder of [temporary, results])
    if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    broken ??= breakOff()
      .catch((error) => failed(error.stack))
      .finally(() => (report(), process.exit(1)));
  });
}
try {
  await main(process.argv.slice(2));
} catch (error) {
  await broken;
  failed(error instanceof SetupError ? error.message : error.stack);
}
report();
