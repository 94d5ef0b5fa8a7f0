/** The thread that reads farm files; started and ended by `farm-checker.ts`. */
import { constants, setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { readFarmFile } from '@impgem/pipeline';

export type FarmAnswer = ReturnType<typeof readFarmFile>;

// When processors are scarce, all else comes first. Only on Linux is the priority the thread's own.
if (process.platform === 'linux') setPriority(constants.priority.PRIORITY_LOW);

parentPort?.on('message', (source: string) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(readFarmFile(source));
});
