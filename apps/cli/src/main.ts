import { noColour } from './config.js';
import { EXIT } from './exit-codes.js';
import { sayFailure } from './failure.js';
import { createTerminal } from './terminal.js';
import { anyRunning } from './up/child.js';
import { run } from './program.js';

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => stop.abort());

const terminal = createTerminal(process.stdout, process.stderr, noColour());
// `impgem logs 1 | head`: the reader has what it wanted. `impgem up` still has programs to stop.
const gone = (error: NodeJS.ErrnoException, canSay: boolean) => {
  if (anyRunning()) return stop.abort();
  if (error.code === 'EPIPE') process.exit(EXIT.ok.code);
  process.exit(canSay ? sayFailure(terminal, error, undefined) : EXIT.exception.code);
};
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  error.message = `standard output cannot be written: ${error.message}`;
  gone(error, true);
});
process.stderr.on('error', (error: NodeJS.ErrnoException) => gone(error, false));
for (const kind of ['uncaughtException', 'unhandledRejection'] as const)
  process.on(kind, (error) => process.exit(sayFailure(terminal, error, undefined)));

const code = await run(process.argv.slice(2), { terminal, signal: stop.signal });
// What was written to a pipe may still be on its way.
for (const stream of [process.stdout, process.stderr])
  await new Promise<void>((written) => stream.write('', () => written()));
// Idle connections to the master would keep the process for seconds.
process.exit(code);
