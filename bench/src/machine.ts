import { cpus, release, totalmem } from 'node:os';
import { testEngine } from '@impgem/testkit';

/** The machine that was measured on, in a line. */
export async function machine(): Promise<string> {
  const engine = await testEngine()
    .version()
    .then(({ Version }) => `Docker Engine ${Version}`)
    .catch(() => 'no Docker Engine');
  const memory = Math.round(totalmem() / 1024 ** 3);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, Linux ${release()}, Node ${process.versions.node}, ${engine}`;
}
