import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { inherited } from '../config.js';

/** Runs a program in our place: its output is ours, our signals are its; answers its exit code. */
export async function runProgram(
  file: string,
  env: Record<string, string | undefined>,
  args: readonly string[] = [],
): Promise<number> {
  const child = spawn(process.execPath, ['--enable-source-maps', file, ...args], {
    stdio: 'inherit',
    env: inherited(env),
  });
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    return code ?? 128 + (signal ? constants.signals[signal] : 0);
  } finally {
    for (const signal of signals) process.off(signal, pass);
  }
}
