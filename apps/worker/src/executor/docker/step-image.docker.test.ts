import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { testEngine, testEngineHost } from '@impgem/testkit';
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { DOCKER_DEFAULTS } from '../config.js';
import { Audience } from '../contract/stage.js';
import type { Workspace } from '../executor.js';
import { DockerExecutor } from './docker-executor.js';

const engine = testEngine();
const REPO = 'impgem-test/step-image';
const made: string[] = [];
const executor = new DockerExecutor({
  ...DOCKER_DEFAULTS,
  host: testEngineHost,
  networksRange: '10.214.0.0/16',
  slots: 1,
});
let workspace: Workspace;

/** A busybox with other settings. */
async function declaring(tag: string, changes: string): Promise<string> {
  const container = await engine.createContainer({ Image: 'busybox:1.37', Cmd: ['true'] });
  try {
    await container.commit({ repo: REPO, tag, changes });
  } finally {
    await container.remove({ v: true });
  }
  made.push(`${REPO}:${tag}`);
  return `${REPO}:${tag}`;
}

/** An image that holds one file and no program. */
async function empty(tag: string): Promise<string> {
  const pack = tar.pack();
  pack.entry({ name: 'etc/motd' }, 'nothing here\n');
  pack.finalize();
  const told = await engine.importImage(pack as unknown as NodeJS.ReadableStream, {
    repo: REPO,
    tag,
  });
  await buffer(told as Readable);
  made.push(`${REPO}:${tag}`);
  return `${REPO}:${tag}`;
}

async function play(image: string, run: string) {
  const audience = new Audience();
  const spec = { index: 0, name: 'step', run, image, env: {} };
  const step = await executor.start(workspace, spec, {
    sink: audience.sink,
    signal: new AbortController().signal,
    launching: async () => {},
  });
  const exit = await step.exited;
  step.discard();
  return { exit, stdout: audience.stdout.toString(), system: audience.system };
}

beforeAll(async () => {
  await executor.open({ farm: randomUUID(), worker: randomUUID() });
  workspace = await executor.createWorkspace({ build: 1, epoch: 1 }, 0);
});
afterAll(async () => {
  await executor.close();
  for (const name of made) await engine.getImage(name).remove({ force: true });
});

describe('what an image declares', () => {
  it('hides nothing of the workspace, and changes nothing about the step', async () => {
    const image = await declaring(
      'all',
      [
        'VOLUME /workspace',
        'USER 1234',
        'WORKDIR /tmp',
        'ENTRYPOINT ["/bin/false"]',
        'CMD ["nothing"]',
        'ENV PATH=/opt/tool/bin HOME=/nowhere',
      ].join('\n'),
    );
    const first = await play(image, 'echo kept > file; pwd; /bin/busybox id -u');
    expect(first).toMatchObject({ exit: { exitCode: 0 }, stdout: '/workspace\n0\n' });
    const next = await play('busybox:1.37', 'cat file; ulimit -c');
    expect(next.stdout).toBe('kept\n0\n');
  });

  it.each(['/workspace/build', '/workspace/a/../b/', '//workspace//c'])(
    'is refused when it would hide a part of the workspace: VOLUME %s',
    async (volume) => {
      const image = await declaring(`volume${made.length}`, `VOLUME ${volume}`);
      await expect(play(image, 'true')).rejects.toMatchObject({
        code: 'image-unusable',
        message: expect.stringContaining('hide that part of the workspace'),
      });
    },
  );

  it('is told when there is no shell', async () => {
    await expect(play(await empty('empty'), 'true')).rejects.toMatchObject({
      code: 'image-unusable',
      message: expect.stringMatching(/has no shell: neither \/bin\/sh nor/),
    });
  });
});
