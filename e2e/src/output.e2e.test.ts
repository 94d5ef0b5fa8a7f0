import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { BuildDetail } from '@impgem/client';
import { startFarm, type Farm } from './farm.js';

const MIB = 1024 * 1024;
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const FARM = `
builders:
  horrors:
    image: busybox:1.37
    steps:
      - name: invalid UTF-8
        run: printf 'a\\377\\376b\\300\\257\\n'
      - name: NUL
        run: printf 'a\\000b\\n\\000'
      - name: one line of 50 MB
        run: head -c 52428800 /dev/zero | tr '\\0' x
      - name: 200000 lines
        run: seq 1 200000
      - name: both streams
        run: |
          echo to stdout
          echo to stderr >&2
          printf 'no newline at the end'
  memory:
    image: busybox:1.37
    steps:
      - name: too much
        run: head -c 1000m /dev/zero | tr '\\0' x | sort >/dev/null
  nothing:
    image: busybox:1.37
    steps: [{ name: touch, run: echo hello >there.txt }]
    artifacts: [there.txt, not-there/*.bin]
  link:
    image: busybox:1.37
    steps: [{ name: link, run: ln -s /etc/passwd out.txt }]
    artifacts: [out.txt]
  no-image:
    image: registry.invalid/nobody/nothing:1
    steps: [{ run: 'true' }]
  exit-3:
    image: busybox:1.37
    steps: [{ name: three, run: exit 3 }, { name: never, run: echo never }]
`;

describe('what a step does to its log and its build', () => {
  let farm: Farm;

  beforeAll(async () => {
    farm = await startFarm({ workerEnv: { IMPGEM_STEP_MEMORY: String(256 * MIB) } });
    await farm.apply(FARM);
  });
  afterAll(() => farm?.stop());

  const run = async (builder: string) =>
    farm.untilBuild((await farm.request(builder)).id, ['finished'], 180_000);
  const stdout = (build: BuildDetail, name: string) => {
    const step = build.steps.find((one) => one.name === name);
    return farm.log(build.id, step?.index ?? -1, '?stream=stdout');
  };

  it('keeps every byte, whatever the bytes are', async () => {
    const build = await run('horrors');
    expect({ result: build.result, reason: build.reason }).toEqual({
      result: 'success',
      reason: null,
    });
    expect(await stdout(build, 'invalid UTF-8')).toEqual(
      Buffer.from('a\xff\xfeb\xc0\xaf\n', 'latin1'),
    );
    expect(await stdout(build, 'NUL')).toEqual(Buffer.from('a\0b\n\0'));
    const long = await stdout(build, 'one line of 50 MB');
    expect(long.length).toBe(52_428_800);
    expect(sha256(long)).toBe(sha256(Buffer.alloc(52_428_800, 'x')));
    const numbers = Array.from({ length: 200_000 }, (_, n) => `${n + 1}\n`).join('');
    expect((await stdout(build, '200000 lines')).equals(Buffer.from(numbers))).toBe(true);
    expect((await stdout(build, 'both streams')).toString()).toBe(
      'to stdout\nno newline at the end',
    );
    for (const step of build.steps) {
      const sum = step.log.sha256?.stdout;
      if (sum) expect(sum).toBe(sha256(await stdout(build, step.name)));
    }
  });

  it('says that a step was killed by its memory limit', async () => {
    const build = await run('memory');
    expect(build.result).toBe('failure');
    expect(build.steps[0]?.reason?.code).toBe('out-of-memory');
  });

  it('fails a build whose artifact pattern matches nothing, and keeps what did match', async () => {
    const build = await run('nothing');
    expect(build.result).toBe('failure');
    const step = build.steps.at(-1);
    expect(step?.reason?.code).toBe('artifact-missing');
    expect(step?.reason?.message).toContain('not-there/*.bin');
    expect(build.artifacts.map(({ path }) => path)).toEqual(['there.txt']);
  });

  it('refuses a link out of the workspace as an artifact', async () => {
    const build = await run('link');
    expect(build.result).toBe('failure');
    expect(['artifact-refused', 'artifact-missing']).toContain(build.steps.at(-1)?.reason?.code);
    expect(build.artifacts).toEqual([]);
  });

  it('ends a build whose image cannot be had, and names the image', async () => {
    const build = await run('no-image');
    expect(build.result).toBe('exception');
    const reason = build.steps.find((step) => step.reason)?.reason;
    expect(reason?.code).toBe('image-unavailable');
    expect(reason?.message).toContain('registry.invalid/nobody/nothing:1');
  });

  it('tells the exit code of the step that failed, and skips the rest', async () => {
    const build = await run('exit-3');
    expect(build.result).toBe('failure');
    expect(build.steps.map((step) => step.exitCode)).toEqual([3, null]);
    expect(build.steps[1]?.result).toBe('skipped');
  });
});
