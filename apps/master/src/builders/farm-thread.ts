/** The thread that reads farm files; started and ended by `farm-checker.ts`. */
import { parentPort } from 'node:worker_threads';
import { readFarmFile } from '@impgem/pipeline';

export type FarmAnswer = ReturnType<typeof readFarmFile>;

parentPort?.on('message', (source: string) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port between threads has no origin
  parentPort?.postMessage(readFarmFile(source));
});
