import { noColour } from './config.js';
import { createTerminal } from './terminal.js';
import { run } from './program.js';

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => stop.abort());
// `impgem logs 1 | head`: the reader has what it wanted.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? 0 : 5),
);

const terminal = createTerminal(process.stdout, process.stderr, noColour());
// Idle connections to the master would keep the process for seconds.
process.exit(await run(process.argv.slice(2), { terminal, signal: stop.signal }));
