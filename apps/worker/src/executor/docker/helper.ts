import { FarmError } from '@impgem/kit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { Demultiplexer } from './demultiplexer.js';
import { exitOf, unlessGone } from './engine.js';

/** What a helper may print at most, in bytes: it answers small questions. */
const MOST = 4 * 1024 * 1024;

async function collect(stream: Readable): Promise<{ out: string; err: string }> {
  const demux = new Demultiplexer();
  const pieces = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let size = 0;
  for await (const chunk of stream) {
    for (const { stream: name, bytes } of demux.push(chunk as Buffer)) {
      size += bytes.length;
      if (size > MOST) throw new FarmError('engine-error', 'a helper printed too much');
      pieces[name].push(bytes);
    }
  }
  const text = (name: keyof typeof pieces): string => Buffer.concat(pieces[name]).toString();
  return { out: text('stdout'), err: text('stderr') };
}

/** Runs a container of our own to its end, removes it, and returns what it printed. Rejects when it fails. */
export async function run(engine: Docker, options: Docker.ContainerCreateOptions): Promise<string> {
  const container = await engine.createContainer({
    ...options,
    NetworkDisabled: false,
    HostConfig: {
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
      ...options.HostConfig,
    },
  });
  try {
    const attached = await container.attach({ stream: true, stdout: true, stderr: true });
    const output = collect(attached as unknown as Readable);
    output.catch(() => {});
    await container.start();
    const code = await exitOf(container);
    const { out, err } = await output;
    if (code === 0) return out;
    throw new FarmError('engine-error', `${options.Cmd?.join(' ')} ended with ${code}: ${err}`);
  } finally {
    await unlessGone(container.remove({ force: true, v: true }), true);
  }
}
