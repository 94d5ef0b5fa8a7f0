import { noColour } from './config.js';
import { EXIT } from './exit-codes.js';
import { createTerminal } from './terminal.js';
import { anyRunning } from './up/child.js';
import { run } from './program.js';

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => stop.abort());
// `impgem logs 1 | head`: the reader has what it wanted. `impgem up` still has programs to stop.
const gone = (error: NodeJS.ErrnoException) => {
  if (anyRunning()) return stop.abort();
  return process.exit(error.code === 'EPIPE' ? EXIT.ok.code : EXIT.exception.code);
};
process.stdout.on('error', gone);
process.stderr.on('error', gone);

const terminal = createTerminal(process.stdout, process.stderr, noColour());
const code = await run(process.argv.slice(2), { terminal, signal: stop.signal });
// What was written to a pipe may still be on its way.
for (const stream of [process.stdout, process.stderr])
  await new Promise<void>((written) => stream.write('', () => written()));
// Idle connections to the master would keep the process for seconds.
process.exit(code);
