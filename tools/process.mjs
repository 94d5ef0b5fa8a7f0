// Running programs and finding them, for the tools of this folder. Node's own modules only: these run before `npm ci`.
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

/** Talk for people, on stderr: stdout belongs to data. */
export const say = (text) => process.stderr.write(`${text}\n`);

/** The path of an installed program, or undefined. Also looks where administrators' programs lie. */
export function onPath(name) {
  const places = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/sbin',
    '/usr/local/bin',
  ];
  for (const place of places) {
    const path = join(place, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/** A failed set-up step: what to do about it stands in the message; shown without a stack. */
export class SetupError extends Error {}

const running = new Set();

/** Ends what `run` has under way; its promises reject. */
export function stopRunning() {
  for (const child of running) child.kill('SIGTERM');
}

/**
 * Runs a program to its end. `quiet` keeps its output and shows it only when it fails; `capture` returns
 * it, all as `text` and stdout as `out`;
 * `input` goes to its stdin; `timeoutMs` kills its whole group.
 */
export function run(command, args, options = {}) {
  const {
    quiet = false,
    capture = false,
    input,
    timeoutMs,
    env,
    cwd = root,
    check = true,
  } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      detached: timeoutMs !== undefined,
      stdio: [
        input === undefined ? 'ignore' : 'pipe',
        capture || quiet ? 'pipe' : 'inherit',
        capture || quiet ? 'pipe' : 'inherit',
      ],
    });
    running.add(child);
    const out = [];
    const all = [];
    child.stdout?.on('data', (bytes) => void (out.push(bytes), all.push(bytes)));
    child.stderr?.on('data', (bytes) => all.push(bytes));
    let timedOut = false;
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            killGroup(child.pid);
          }, timeoutMs);
    if (input !== undefined) {
      child.stdin.on('error', () => {});
      if (typeof input === 'string') child.stdin.end(input);
      else input.pipe(child.stdin);
    }
    child.on('error', (cause) => {
      running.delete(child);
      clearTimeout(timer);
      reject(new SetupError(`cannot run ${command}: ${cause.message}`, { cause }));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      const text = Buffer.concat(all).toString();
      const status = code ?? 128;
      if (check && status !== 0) {
        const why = timedOut ? `no end within ${timeoutMs / 1000} s` : (signal ?? `exit ${status}`);
        const tail = text.trim().split('\n').slice(-60).join('\n');
        reject(new SetupError(`${command} ${args.slice(0, 4).join(' ')}: ${why}\n${tail}`));
      } else resolve({ status, timedOut, out: Buffer.concat(out).toString(), text });
    });
  });
}

export function killGroup(pid, signal = 'SIGKILL') {
  try {
    process.kill(-pid, signal);
  } catch {
    // gone already
  }
}

export const isRoot = () => process.getuid?.() === 0;

/** Debian, Ubuntu or what calls itself like one of them. */
export function isDebian() {
  if (!existsSync('/etc/os-release') || !onPath('apt-get')) return false;
  const text = readFileSync('/etc/os-release', 'utf8');
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(text);
}

let listsAreFresh = false;

/** Installs Debian packages; the caller has said so before. `why` names what they are for. */
export async function aptInstall(packages, why) {
  say(`Installing ${packages.join(', ')} with apt-get (${why}) …`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  if (!listsAreFresh) await run('apt-get', ['update', '-qq'], { quiet: true, env });
  listsAreFresh = true;
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], {
    quiet: true,
    env,
  });
}
