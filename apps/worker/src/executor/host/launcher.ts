import { closeSync, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { LaunchedStep, type Start } from './launched-step.js';
import type { LauncherReport, LauncherRequest } from './launcher-messages.js';
import { Pipes, type Pipe } from './pipes.js';

/**
 * The launcher: a small process that starts the steps of the host executor. Small, because Node's spawn rate
 * falls with the size of the process that spawns (52/s at 1 GB); a process of its own, because steps then live
 * on when the worker dies: it copies their output from pipes into files, and their exit code into a line of a file,
 * which counts when it has its end. No step holds those files: `> /dev/stderr` would cut what it holds. It lives until
 * the worker is gone *and* the last step has ended, and no child that outlived its step holds a pipe of a workspace
 * that is still there.
 *
 * Its argument is the folder of all workspaces, absolute.
 */
const pipes = new Pipes(String(process.argv[2]));
// Ready before the first step asks; what is wrong with it the step is told.
pipes.make().catch(() => {});
const running = new Map<string, LaunchedStep>();
/** Steps with a pipe that somebody holds, by the folder of their workspace. */
const open = new Map<LaunchedStep, string>();
let starting = 0;
let alone = false;
let looking: NodeJS.Timeout | undefined;

/** How often a launcher that is alone looks whether such workspaces are gone. */
const LOOK_MS = 2_000;

function report(message: LauncherReport): void {
  if (!alone) process.send?.(message, undefined, {}, () => {});
}

async function start(request: Start): Promise<void> {
  const taken: Pipe[] = [];
  starting++;
  try {
    taken.push(await pipes.take());
    taken.push(await pipes.take());
    launch(request, taken.splice(0));
  } catch (error) {
    for (const { reader, writer } of taken) for (const file of [reader, writer]) closeSync(file);
    const { code = 'unknown', message } = error as NodeJS.ErrnoException;
    report({ tell: 'failed', id: request.id, code, message });
  } finally {
    starting--;
    leaveWhenDone();
  }
}

function launch(request: Start, taken: readonly Pipe[]): void {
  const { id, files } = request;
  const step: LaunchedStep = new LaunchedStep(request, taken, {
    started: (pid) => report({ tell: 'started', id, pid }),
    ended: (exit) => {
      running.delete(id);
      report(
        exit.failed ? { tell: 'failed', id, ...exit.failed } : { tell: 'exited', id, ...exit },
      );
      leaveWhenDone();
    },
    closed: () => {
      open.delete(step);
      leaveWhenDone();
    },
  });
  running.set(id, step);
  open.set(step, dirname(files));
  step.start();
}

function leaveWhenDone(): void {
  if (!alone || starting > 0 || running.size > 0) return;
  for (const [step, workspace] of open) if (!existsSync(workspace)) step.close();
  const held = [...open.values()].some((workspace) => existsSync(workspace));
  if (!held) process.exit(0);
  looking ??= setInterval(leaveWhenDone, LOOK_MS);
}

process.on('message', (request: LauncherRequest) => {
  switch (request.ask) {
    case 'start':
      void start(request);
      break;
    case 'stop':
      running.get(request.id)?.stop(request.graceMs);
      break;
    case 'hold':
      running.get(request.id)?.hold();
      break;
    case 'release':
      running.get(request.id)?.release();
      break;
  }
});
process.on('disconnect', () => {
  alone = true;
  // Whoever asked for it cannot take it back any more.
  for (const step of running.values()) step.release();
  leaveWhenDone();
});
// Signals to the worker's group are the worker's business; steps end by `stop` alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
