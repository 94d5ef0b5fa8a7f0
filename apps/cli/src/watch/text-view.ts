import type { Build, Reason, Result, Step } from '@impgem/client';
import { titleOf } from '../cli.js';
import { lastState, settled } from '../harmless.js';
import { duration, harmless, type Terminal } from '../terminal.js';
import { Lines, type View } from './view.js';

const MARKS: Record<
  Result,
  { mark: string; colour: 'green' | 'yellow' | 'red' | 'magenta' | 'dim' }
> = {
  success: { mark: '✔', colour: 'green' },
  warnings: { mark: '!', colour: 'yellow' },
  failure: { mark: '✖', colour: 'red' },
  exception: { mark: '✖', colour: 'magenta' },
  retry: { mark: '↻', colour: 'magenta' },
  cancelled: { mark: '■', colour: 'yellow' },
  skipped: { mark: '-', colour: 'dim' },
};

/** For people: steps as they begin and end, and the lines of the log, each with the time since the start. */
export function textView(terminal: Terminal): View {
  const { say, talk, colour } = terminal;
  // A colour that a line leaves on would colour what is ours in the next one.
  const shown = (text: string) => {
    if (!terminal.tty) return text;
    const safe = harmless(lastState(text));
    return safe.includes('\u001b') ? `${safe}\u001b[0m` : safe;
  };
  const paint = {
    stdout: (text: string) => text,
    stderr: colour.yellow,
    system: colour.cyan,
  };
  let lines: Lines | undefined;
  const ended = (what: string, { result, reason, exitCode }: Ended, took: string) => {
    const { mark, colour: name } = MARKS[result ?? 'skipped'];
    const why = [
      result === 'success' ? '' : (result ?? 'skipped'),
      reason?.message ?? (exitCode ? `exit code ${exitCode}` : ''),
    ];
    const told = why.filter((part) => part !== '').join(': ');
    say(`${talk[name](mark)} ${what}${told ? ` ${talk[name](harmless(told))}` : ''}${took}`);
  };
  return {
    full: terminal.full,
    queued: ({ id, builder }) =>
      say(talk.dim(`${builder}: build request ${id} waits for a worker`)),
    build: (build) => {
      const on = build.worker === null ? '' : ` on ${harmless(build.worker)}`;
      const attempt = build.attempt > 1 ? `, attempt ${build.attempt}` : '';
      say(`${talk.bold(titleOf(build))} ${talk.dim(`(build ${build.id}${on}${attempt})`)}`);
    },
    step: (build, { name }) => {
      say(`${talk.blue('▶')} ${talk.bold(harmless(name))}`);
      lines = new Lines(
        (stream, at, text) => {
          const time = since(build, at).padStart(8);
          terminal.print(`${colour.dim(`${time} │`)} ${paint[stream](shown(text))}`);
        },
        terminal.tty ? settled : undefined,
      );
    },
    piece: (_build, _step, piece) => lines?.add(piece),
    stepEnd: (_build, step) => {
      lines?.flush();
      lines = undefined;
      ended(harmless(step.name), step, talk.dim(took(step)));
    },
    buildEnd: (build, again) => {
      ended(talk.bold(titleOf(build)), { ...build, exitCode: null }, talk.dim(took(build)));
      if (again) say(talk.dim('it is tried again'));
    },
    note: (text) => say(talk.dim(harmless(text))),
  };
}

interface Ended {
  result: Result | null;
  reason: Reason | null;
  exitCode: Step['exitCode'];
}

function took({ startedAt, finishedAt }: Pick<Build, 'startedAt' | 'finishedAt'>): string {
  if (startedAt === null || finishedAt === null) return '';
  return ` ${duration(Date.parse(finishedAt) - Date.parse(startedAt))}`;
}

/** `3.21` seconds, or `12:03.21`. */
function since({ startedAt, createdAt }: Build, at: string): string {
  const seconds = Math.max(0, Date.parse(at) - Date.parse(startedAt ?? createdAt)) / 1000;
  if (seconds < 60) return seconds.toFixed(2);
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, '0')}`;
}
