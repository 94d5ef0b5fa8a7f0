/** The peers that Docker brings: its command line, and its engine without a farm. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { testEngine } from '@impgem/testkit';
import { withEnd } from './with-end.js';

export const IMAGE = 'busybox:1.37';
/** Has bash, whose clock reads microseconds. */
export const DEBIAN = 'debian:bookworm-slim';

const execute = promisify(execFile);

type Engine = ReturnType<typeof testEngine>;
export type Container = ReturnType<Engine['getContainer']>;

/** `docker run --rm` of the image with its default bridge. */
export const dockerRun = (...command: string[]) =>
  execute('docker', ['run', '--rm', IMAGE, ...command]);

/** So many of them, four at once, as a shell does it. */
export const dockerRunInParallel = (count: number) =>
  execute('sh', ['-c', `seq ${count} | xargs -P4 -I{} docker run --rm ${IMAGE} true`]);

export const dockerCp = (from: string, to: string) => execute('docker', ['cp', from, to]);

/** Unpacks a folder of a running container into one of this machine. */
export const tarPipe = (container: string, from: string, to: string) =>
  execute('sh', [
    '-e',
    '-c',
    'docker exec "$1" tar -C "$2" -c . | tar -x -C "$3"',
    'sh',
    container,
    from,
    to,
  ]);

/** A container that stays until it is removed, with what the shell text has made in it. */
export async function withContainer<T>(
  prepare: string,
  use: (name: string) => Promise<T>,
): Promise<T> {
  const name = `impgem-bench-${process.pid}`;
  await execute('docker', ['run', '-d', '--name', name, IMAGE, 'sleep', '86400']);
  const remove = () => execute('docker', ['rm', '-f', '-v', name]);
  return withEnd(remove, async () => {
    await execute('docker', ['exec', name, 'sh', '-e', '-c', prepare]);
    return use(name);
  });
}

/** What the farm makes a step's container of, as the engine tells it of one that runs. */
export async function stepContainer(
  farm: string,
): Promise<Awaited<ReturnType<Container['inspect']>>> {
  const engine = testEngine();
  const label = [`impgem.farm=${farm}`, 'impgem.role=step'];
  const [found] = await engine.listContainers({ filters: { label } });
  if (!found) throw new Error('no step runs in a container');
  return engine.getContainer(found.Id).inspect();
}

/**
 * Runs a container made like the farm's (options, log driver and limits, without its volume and network), attached
 * before it starts; returns the milliseconds from the start to the end of its output, which is thrown away.
 */
export async function attach(
  like: Awaited<ReturnType<Container['inspect']>>,
  run: string,
  bytes: number,
): Promise<number> {
  const { Config, HostConfig } = like;
  const container = await testEngine().createContainer({
    Image: Config.Image,
    Entrypoint: ['sh', '-e', '-c'],
    Cmd: [run],
    User: Config.User,
    Env: Config.Env,
    Healthcheck: { Test: ['NONE'] },
    WorkingDir: '/',
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: { ...HostConfig, NetworkMode: 'none', Mounts: [], Binds: [] },
  });
  const remove = () => container.remove({ force: true, v: true });
  return withEnd(remove, async () => {
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    let seen = 0;
    stream.on('data', (piece: Buffer) => (seen += piece.length));
    const ended = once(stream, 'end');
    const start = performance.now();
    await container.start();
    await ended;
    const ms = performance.now() - start;
    // more than was printed, since each piece has a header
    if (seen < bytes) throw new Error(`attach: ${seen} bytes came of ${bytes}`);
    return ms;
  });
}
