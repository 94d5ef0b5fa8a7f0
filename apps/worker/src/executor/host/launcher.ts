import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { fileOf } from './launcher-messages.js';
import type {
  LauncherReport,
  LauncherRequest,
  ProcessExit,
  ProcessId,
} from './launcher-messages.js';
import { startOf } from './process-id.js';

/**
 * The launcher: a small process that starts the steps of the host executor. Small, because Node's spawn rate
 * falls with the size of the process that spawns (52/s at 1 GB); a process of its own, because steps then live
 * on when the worker dies: their output goes into files by descriptor, and their exit code into a line of a file, which
 * counts when it has its end. It lives until the worker is gone *and* the last step has ended.
 */
const running = new Map<string, { child: ChildProcess; grace?: NodeJS.Timeout }>();
let alone = false;

function report(message: LauncherReport): void {
  if (!alone) process.send?.(message, undefined, {}, () => {});
}

/** The whole process group; one that is gone already is fine. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Gone.
  }
}

function start({ id, run, cwd, env, files }: Extract<LauncherRequest, { ask: 'start' }>): void {
  // Not there yet, or another worker has taken the step up and wants it not to run any more.
  const notes = openSync(fileOf(files, 'process'), 'ax', 0o600);
  const note = (what?: ProcessId | ProcessExit): void =>
    void writeSync(notes, `${what ? JSON.stringify(what) : ''}\n`);
  const end = (exit: ProcessExit): void => {
    running.delete(id);
    try {
      note(exit);
    } catch {
      // A full disk, say; who listens is told all the same.
    }
    closeSync(notes);
  };
  const fail = ({ code = 'unknown', message }: NodeJS.ErrnoException): void => {
    end({ code: null, signal: null, failed: { code, message } });
    report({ tell: 'failed', id, code, message });
    leaveWhenDone();
  };
  let child: ChildProcess | undefined;
  try {
    child = spawned(files, { run, cwd, env });
    const { pid } = child;
    note(pid === undefined ? undefined : { pid, start: startOf(pid) ?? '' });
  } catch (error) {
    if (child) signalGroup(child, 'SIGKILL');
    else note();
    return fail(error as NodeJS.ErrnoException);
  }
  child.once('error', fail);
  const { pid } = child;
  if (pid === undefined) return;
  running.set(id, { child });
  child.once('exit', (code, signal) => {
    // As in a container: with the main process its children end.
    signalGroup(child, 'SIGKILL');
    clearTimeout(running.get(id)?.grace);
    const exit: ProcessExit = { code, signal };
    end(exit);
    report({ tell: 'exited', id, ...exit });
    leaveWhenDone();
  });
  report({ tell: 'started', id, pid });
}

function spawned(
  files: string,
  { run, cwd, env }: Pick<Extract<LauncherRequest, { ask: 'start' }>, 'run' | 'cwd' | 'env'>,
): ChildProcess {
  const [out, err] = (['stdout', 'stderr'] as const).map((name) =>
    openSync(fileOf(files, name), 'a', 0o600),
  );
  try {
    return spawn('/bin/sh', ['-e', '-c', run], {
      cwd,
      env,
      // A session and group of its own.
      detached: true,
      stdio: ['ignore', out, err],
    });
  } finally {
    for (const file of [out, err]) if (file !== undefined) closeSync(file);
  }
}

function stop(id: string, graceMs: number): void {
  const step = running.get(id);
  if (!step) return;
  signalGroup(step.child, graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
  signalGroup(step.child, 'SIGCONT');
  if (graceMs > 0) step.grace ??= setTimeout(() => signalGroup(step.child, 'SIGKILL'), graceMs);
}

function leaveWhenDone(): void {
  if (alone && running.size === 0) process.exit(0);
}

process.on('message', (request: LauncherRequest) => {
  switch (request.ask) {
    case 'start':
      try {
        start(request);
      } catch (error) {
        const { code = 'unknown', message } = error as NodeJS.ErrnoException;
        report({ tell: 'failed', id: request.id, code, message });
      }
      break;
    case 'stop':
      stop(request.id, request.graceMs);
      break;
    case 'hold':
    case 'release': {
      const step = running.get(request.id);
      if (step) signalGroup(step.child, request.ask === 'hold' ? 'SIGSTOP' : 'SIGCONT');
      break;
    }
  }
});
process.on('disconnect', () => {
  alone = true;
  // Whoever asked for it cannot take it back any more.
  for (const { child } of running.values()) signalGroup(child, 'SIGCONT');
  leaveWhenDone();
});
// Signals to the worker's group are the worker's business; steps end by `stop` alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
