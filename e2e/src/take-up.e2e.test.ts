import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from '@jest/globals';
import { engineObjects, eventually, expectNothingLeft, testEngine } from '@impgem/testkit';
import type { BuildDetail, BuildRequest, LogSearchResult, Page, Worker } from '@impgem/client';
import { startFarm, type Farm } from './farm.js';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A line of each stream and round, NUL and invalid UTF-8 in them, a burst now and then, no newline at the end. */
const ROUNDS = 24;
const BURST = 1_500_000;
const BIG = 24_000_000;
const script = (name: string): string => `
          i=1
          while [ $i -le ${ROUNDS} ]; do
            printf '${name} out %d \\000\\377\\376\\n' $i
            printf '${name} err %d \\303(\\n' $i >&2
            if [ $((i % 6)) -eq 0 ]; then yes "${name} burst $i" | head -c ${BURST}; fi
            sleep 0.1
            i=$((i + 1))
          done
          printf 'no newline' >&2
          printf 'at the end'
          echo ${name} >>ran.txt`;

function truth(name: string): { stdout: Buffer; stderr: Buffer } {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  for (let i = 1; i <= ROUNDS; i++) {
    stdout.push(Buffer.from(`${name} out ${i} \0\xff\xfe\n`, 'latin1'));
    stderr.push(Buffer.from(`${name} err ${i} \xc3(\n`, 'latin1'));
    if (i % 6 === 0) stdout.push(Buffer.alloc(BURST, `${name} burst ${i}\n`));
  }
  stdout.push(Buffer.from('at the end'));
  stderr.push(Buffer.from('no newline'));
  return { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
}

const FARM = `
builders:
  long:
    image: busybox:1.37
    steps:
      - name: one
        run: |${script('one')}
      - name: two
        run: |${script('two')}
      - name: pack
        run: yes artifact | head -c ${BIG} >big.bin
    artifacts: [big.bin, ran.txt]
`;

describe('a build whose worker is killed', () => {
  let farm: Farm;
  afterEach(() => farm?.stop());

  const log = (build: number, step: number, stream: string) =>
    farm.log(build, step, `?stream=${stream}`);

  async function untilLine(build: number, step: number, text: string): Promise<void> {
    const found = () =>
      farm.api<LogSearchResult>(
        'GET',
        `/builds/${build}/steps/${step}/log/search?stream=stdout&limit=1&q=${encodeURIComponent(text)}`,
      );
    await eventually(async () => (await found()).matches.length > 0, {
      what: `${text} of step ${step}`,
      saw: () => farm.told(),
    });
  }

  /** The worker dies on the spot when the master has this line of a step. */
  async function killAt(build: number, step: number, text: string): Promise<void> {
    await untilLine(build, step, text);
    await kill();
  }

  async function kill(): Promise<void> {
    const worker = farm.workers.pop();
    worker?.kill('SIGKILL');
    expect(await worker?.exited).toBe(137);
  }

  async function workerId(): Promise<string> {
    const { items } = await farm.api<Page<Worker>>('GET', '/workers');
    return items[0]?.id ?? '';
  }

  async function begin(): Promise<{ request: number; build: number }> {
    await farm.apply(FARM);
    const request = (await farm.request('long')).id;
    const { id } = await farm.untilBuild(request, ['running']);
    return { request, build: id };
  }

  async function expectExact(build: BuildDetail): Promise<void> {
    expect({ result: build.result, reason: build.reason, attempt: build.attempt }).toEqual({
      result: 'success',
      reason: null,
      attempt: 1,
    });
    for (const [index, name] of ['one', 'two'].entries()) {
      const expected = truth(name);
      for (const stream of ['stdout', 'stderr'] as const) {
        const bytes = await log(build.id, index, stream);
        expect({ name, stream, length: bytes.length, sha256: sha256(bytes) }).toEqual({
          name,
          stream,
          length: expected[stream].length,
          sha256: sha256(expected[stream]),
        });
        expect(build.steps[index]?.log.sha256?.[stream]).toBe(sha256(bytes));
      }
    }
    const big = Buffer.alloc(BIG, 'artifact\n');
    expect(sha256(await farm.artifact(build.id, 'big.bin'))).toBe(sha256(big));
    expect((await farm.artifact(build.id, 'ran.txt')).toString()).toBe('one\ntwo\n');
    const { builds } = await farm.api<BuildRequest>('GET', `/build-requests/${build.request}`);
    expect(builds.length).toBe(1);
  }

  it('goes on in its containers, and nothing is lost, doubled or left', async () => {
    const othersVolumes = await engineObjects({ worker: 'none' });
    farm = await startFarm({ workerEnv: { IMPGEM_NETWORKS_RANGE: '10.215.0.0/16' } });
    const { request, build } = await begin();
    await killAt(build, 0, 'one out 7 ');
    await farm.addWorker('worker-1');
    // This time the step ends while nobody looks.
    await killAt(build, 0, 'one out 19 ');
    await untilStepEnded(build, await workerId());
    await farm.addWorker('worker-1');
    await eventually(
      async () => {
        const now = await farm.api<BuildDetail>('GET', `/builds/${build}`);
        return now.steps.at(-1)?.state === 'running';
      },
      { what: 'the sending of artifacts', saw: () => farm.told() },
    );
    await kill();
    await farm.addWorker('worker-1');
    await expectExact(await farm.untilBuild(request));
    const worker = await workerId();
    await farm.stop();
    await expectNothingLeft(othersVolumes, { worker });
  });

  it('goes on as processes of the machine', async () => {
    farm = await startFarm({ executor: 'host' });
    const { request, build } = await begin();
    await killAt(build, 0, 'one out 7 ');
    const worker = await farm.addWorker('worker-1');
    await untilLine(build, 1, 'two out 3 ');
    worker.kill('SIGUSR2');
    expect(await worker.exited).toBe(8);
    farm.workers.pop();
    await farm.addWorker('worker-1');
    await expectExact(await farm.untilBuild(request));
    await farm.stop();
    expect(steps()).toEqual([]);
  });
});

/** Processes of this test's steps. */
function steps(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('one burst')
      );
    } catch {
      return false;
    }
  });
}

async function untilStepEnded(build: number, worker: string): Promise<void> {
  const engine = testEngine();
  const filters = {
    label: [`impgem.worker=${worker}`, `impgem.build=${build}`, 'impgem.role=step'],
  };
  let seen = '';
  await eventually(
    async () => {
      const all = await engine.listContainers({ all: true, filters });
      seen = all.map(({ Names, State, Status }) => `${Names.join()} ${State} ${Status}`).join('\n');
      // The next one may have been made and not started when the worker was killed, or it was held back because it wrote too fast.
      return all.length > 0 && all.every(({ State }) => State !== 'running');
    },
    { what: 'the end of the step', saw: () => seen },
  );
}
