import { run } from '../program.js';
import { createTerminal } from '../terminal.js';

/** Runs a command line in this process; answers what it said where, and its exit code. */
export function runLine(
  argv: string[],
  {
    signal = new AbortController().signal,
    tty = false,
  }: { signal?: AbortSignal; tty?: boolean } = {},
) {
  const said = { out: '', err: '' };
  const sink = (to: 'out' | 'err') => ({
    write: (text: string | Uint8Array) =>
      (said[to] += typeof text === 'string' ? text : Buffer.from(text).toString('latin1')),
    isTTY: tty,
  });
  const terminal = createTerminal(sink('out'), sink('err'), false);
  return { said, code: run(argv, { terminal, signal }) };
}
