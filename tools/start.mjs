#!/usr/bin/env node
// `npm start`: everything from a fresh clone to a farm that runs, then `impgem up` with the arguments given.
// Installs and builds what is missing, finds or starts a Docker Engine, makes sure of the quick start's image, passes
// signals and the exit code on, and leaves no process behind that it started.
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { findEngine } from './engine.mjs';
import { QUICK_START_IMAGE, ensureImage } from './images.mjs';
import {
  SetupError,
  aptInstall,
  isDebian,
  isRoot,
  onPath,
  root,
  say,
  stopRunning,
} from './process.mjs';
import { build, install } from './setup.mjs';

const args = process.argv.slice(2);

/** The value of `--name value` or `--name=value`; undefined when it is not there. */
function option(name) {
  const at = args.findIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (at < 0) return undefined;
  return args[at].includes('=') ? args[at].slice(args[at].indexOf('=') + 1) : args[at + 1];
}

async function needGit() {
  if (onPath('git')) return;
  if (!isRoot() || !isDebian()) {
    throw new SetupError(
      'git is not installed; the worker checks out sources with it. Install it and try again.',
    );
  }
  say('git is not here; this will install it (and it stays installed).');
  await aptInstall(['git', 'ca-certificates'], 'the worker checks out sources with it');
}

let farm;
let stopping = false;
let signalledAt = 0;

/** A signal to us asks the farm to stop, a second one makes it stop now; during the set-up it ends that. */
function onSignal() {
  // npm passes on what the terminal has sent to us already
  if (Date.now() - signalledAt < 300) return;
  signalledAt = Date.now();
  stopping = true;
  if (farm) farm.kill('SIGTERM');
  else stopRunning();
}

/** Runs `impgem up` until it ends; returns its exit code. */
function runFarm(env) {
  if (stopping) return 130;
  farm = spawn(process.execPath, [join(root, 'apps/cli/bundle/main.js'), 'up', ...args], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
    // a session of its own: a Ctrl-C reaches it once, through us, and not a second time from the terminal
    detached: true,
  });
  return new Promise((ended, failed) => {
    farm.on('error', failed);
    farm.on('exit', (code, signal) => ended(code ?? (signal === 'SIGKILL' ? 137 : 143)));
  });
}

async function main() {
  if (args.includes('--help') || args.includes('-h')) {
    await install();
    await build(['cli']);
    return runFarm({});
  }
  await install();
  await build(['master', 'worker', 'cli', 'web']);
  await needGit();
  const dataDir = resolve(option('data') ?? join(root, '.impgem'));
  const { takeFolder } = await import('../apps/cli/bundle/own-folder.js');
  const refused = takeFolder(dataDir, option('data') !== undefined);
  if (refused) throw new SetupError(refused);
  const withDocker = (option('executor') ?? process.env.IMPGEM_EXECUTOR ?? 'docker') === 'docker';
  const engine = withDocker ? await findEngine(dataDir) : undefined;
  try {
    if (engine) await ensureImage(engine.host, QUICK_START_IMAGE);
    return await runFarm(engine ? { DOCKER_HOST: engine.host } : {});
  } finally {
    await engine?.stop();
    if (engine?.note) say(engine.note);
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, onSignal);
try {
  process.exitCode = await main();
} catch (error) {
  if (stopping) process.exitCode = 130;
  else {
    // a fault of ours shows where it is; nothing else does
    const isOutside = error instanceof SetupError || 'syscall' in error;
    say(isOutside ? error.message : `a fault of npm start: ${error.stack.split('\n', 2).join('')}`);
    process.exitCode = 1;
  }
}
