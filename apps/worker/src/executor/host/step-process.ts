import { deferred } from '@impgem/kit';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { LauncherClient } from './launcher-client.js';
import { fileOf } from './launcher-messages.js';
import type {
  LauncherReport,
  LauncherRequest,
  ProcessExit,
  ProcessNote,
} from './launcher-messages.js';
import { isThere, signalGroup } from './process-id.js';

export type Report = LauncherReport | { tell: 'lost' };

/** The processes of a step, whoever started them. */
export interface StepProcess {
  /** Of its shell. */
  readonly pid: number;
  /** `exited`, or `lost` when its exit will never be known. */
  readonly ended: Promise<Report>;
  hold(): void;
  release(): void;
  /** TERM to its group, after `graceMs` KILL. */
  stop(graceMs: number): void;
}

/** Started by this process' launcher. Gives the report instead when it could not be. */
export async function launch(
  launcher: LauncherClient,
  request: Extract<LauncherRequest, { ask: 'start' }>,
): Promise<StepProcess | Report> {
  const { id } = request;
  const started = deferred<Report>();
  const ended = deferred<Report>();
  launcher.start(request, (report) => {
    started.resolve(report);
    if (report.tell !== 'started') ended.resolve(report);
  });
  const first = await started.promise;
  if (first.tell === 'failed' || first.tell === 'lost') {
    launcher.forget(id);
    return first;
  }
  const forgotten = ended.promise.then((report) => {
    launcher.forget(id);
    return report;
  });
  return {
    pid: first.tell === 'started' ? first.pid : 0,
    ended: forgotten,
    hold: () => launcher.ask({ ask: 'hold', id }),
    release: () => launcher.ask({ ask: 'release', id }),
    stop: (graceMs) => launcher.ask({ ask: 'stop', id, graceMs }),
  };
}

/** How often the process that an earlier launcher started is looked at, in milliseconds. */
const LOOK_MS = 100;
/** Between the end of a process and its exit on disk, at most. */
const EXIT_WRITTEN_MS = 10_000;

/** Started by the launcher of an earlier process, which notes its exit. */
export function inherit(files: string, id: ProcessNote): StepProcess {
  let grace: NodeJS.Timeout | undefined;
  const ended = endOf(files, id).finally(() => clearTimeout(grace));
  const kill = (): void => void signalGroup(id, 'SIGKILL');
  return {
    pid: id.pid,
    ended,
    hold: () => void signalGroup(id, 'SIGSTOP'),
    release: () => void signalGroup(id, 'SIGCONT'),
    stop: (graceMs) => {
      if (graceMs === 0) return kill();
      signalGroup(id, 'SIGTERM');
      signalGroup(id, 'SIGCONT');
      grace ??= setTimeout(kill, graceMs);
    },
  };
}

async function endOf(files: string, id: ProcessNote): Promise<Report> {
  for (let left = EXIT_WRITTEN_MS; left > 0;) {
    // In this order: the exit is written after the end, and by the launcher.
    const there = isThere(id);
    const orphaned = id.launcher !== undefined && !isThere(id.launcher);
    const { exit } = await readNotes(files);
    if (exit) return { tell: 'exited', id: '', ...exit };
    if (orphaned) {
      signalGroup(id, 'SIGKILL');
      break;
    }
    if (!there) left -= LOOK_MS;
    await delay(LOOK_MS);
  }
  return { tell: 'lost' };
}

/** What the launcher has noted of a step by now; a line counts when it has its end. */
export async function readNotes(files: string): Promise<{ id?: ProcessNote; exit?: ProcessExit }> {
  const text = await readFile(fileOf(files, 'process'), 'utf8').catch(() => '');
  const [id, exit] = text.split('\n').slice(0, -1);
  try {
    return {
      ...(id ? { id: JSON.parse(id) as ProcessNote } : {}),
      ...(exit ? { exit: JSON.parse(exit) as ProcessExit } : {}),
    };
  } catch {
    // A line that a full disk has cut off.
    return {};
  }
}
