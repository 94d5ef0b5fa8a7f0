import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { inherited } from '../config.js';
import type { Terminal } from '../terminal.js';

/** Something that the program has started may hold its output open; its last lines are here by then, in milliseconds. */
const LAST_LINES_MS = 500;

/**
 * Runs a program in our place: its output is ours, our signals are its; answers its exit code. On a terminal its lines
 * pass through us, since they tell of builds, and those are others'.
 */
export async function runProgram(
  terminal: Terminal,
  file: string,
  env: Record<string, string | undefined>,
  args: readonly string[] = [],
): Promise<number> {
  const child = spawn(process.execPath, ['--enable-source-maps', file, ...args], {
    stdio: ['inherit', terminal.tty ? 'pipe' : 'inherit', terminal.talkTty ? 'pipe' : 'inherit'],
    env: inherited(env),
  });
  const told = Promise.all([
    eachLine(child.stdout, terminal.print),
    eachLine(child.stderr, terminal.say),
  ]);
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  try {
    const [code, signal] = await ended(child);
    await Promise.race([told, sleep(LAST_LINES_MS, undefined, { ref: false })]);
    return code ?? 128 + (signal ? constants.signals[signal] : 0);
  } finally {
    for (const signal of signals) process.off(signal, pass);
  }
}

async function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
}

async function eachLine(stream: Readable | null, tell: (line: string) => void): Promise<void> {
  if (stream) for await (const line of createInterface({ input: stream })) tell(line);
}
