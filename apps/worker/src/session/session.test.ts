import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { BuildPlan, PlannedStep } from '@impgem/pipeline';
import { CLOSE, WORKER_LIMITS, type WorkerEvent } from '@impgem/protocol';
import { patient } from '@impgem/testkit';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { Builds, Uploads } from '../build/index.js';
import { createExecutor, DOCKER_DEFAULTS } from '../executor/index.js';
import { Budget, Spool } from '../spool/index.js';
import { dial } from './dial.js';
import { ScriptedMaster } from './scripted-master.js';
import { Session } from './session.js';

const log = pino({ level: process.env.IMPGEM_TEST_LOG ?? 'silent' });
const token = `igw_${'a'.repeat(32)}_${'s'.repeat(43)}`;
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

let dataDir: string;
let master: ScriptedMaster;
let port: number;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'impgem-session-'));
  master = new ScriptedMaster();
  port = await master.listen();
});
afterEach(async () => {
  await master.close();
  await rm(dataDir, { recursive: true });
});

async function startWorker(folder = dataDir, slots = 2, budget = new Budget(1024 ** 3)) {
  const reach = { port };
  const executor = createExecutor({
    executor: 'scripted',
    dataDir,
    allowHost: false,
    docker: DOCKER_DEFAULTS,
  });
  const uploads = new Uploads();
  const builds = new Builds(
    {
      executor,
      uploads,
      log,
      spool: new Spool(join(folder, 'spool'), budget),
      checkout: async () => {
        throw new Error('no source in these tests');
      },
    },
    (event: WorkerEvent) => session.dispatch(event),
  );
  const session = new Session({
    hello: {
      version: '0.1.0',
      process: '00000000-0000-4000-8000-000000000003',
      platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
      executor: 'scripted',
      labels: [],
      slots,
    },
    limits: { ...WORKER_LIMITS, quickWithinMs: 5, longLivedMs: 0, stopMs: patient(1000) },
    dial: () =>
      dial({ masterUrl: `http://127.0.0.1:${port}`, allowInsecure: false, noProxy: [] }, token),
    vitals: () => ({ diskFree: 1 }),
    uploads,
    log,
  });
  session.start(builds, await builds.recover());
  builds.resume();
  /** From now on the master cannot be reached. */
  const isolate = (): void => {
    reach.port = 1;
    master.cut();
  };
  const rejoin = (): void => {
    reach.port = port;
  };
  return { session, builds, isolate, rejoin };
}

const run = (text: string, more: Partial<PlannedStep> = {}): PlannedStep => ({
  kind: 'run',
  name: 'step',
  run: text,
  env: {},
  ...more,
});
const plan = (steps: PlannedStep[], more: Partial<BuildPlan> = {}): BuildPlan => ({
  builder: 'b',
  number: 1,
  steps,
  artifacts: [],
  properties: {},
  timeoutMs: 60_000,
  ...more,
});

const ending = (events: { kind: string }[]) => events.find(({ kind }) => kind === 'build.finished');
const lines = (count: number) =>
  Array.from({ length: count }, (_, at) => `line ${at + 1}\n`).join('');

describe('Session', () => {
  it('runs a build and brings every byte, then leaves nothing', async () => {
    const { session, builds } = await startWorker();
    const taken = master.order(
      plan([
        run('stdout hello\nstderr oh\nlines stdout 500\nbase64 stdout /wD+', { name: 'one' }),
        run('exit 3', { name: 'two' }),
        run('stdout never', { name: 'three' }),
      ]),
    );
    await master.until(() => taken.finished);
    expect(taken.text(0, 'stdout')).toEqual(
      Buffer.concat([Buffer.from(`hello\n${lines(500)}`), Buffer.from([255, 0, 254])]),
    );
    expect(taken.text(0, 'stderr').toString()).toBe('oh\n');
    const [one, two, three] = taken.events.filter(({ kind }) => kind === 'step.finished');
    expect(one).toMatchObject({
      result: 'success',
      exitCode: 0,
      log: {
        bytes: taken.lengths.get(0),
        sha256: {
          stdout: sha256(taken.text(0, 'stdout')),
          stderr: sha256(taken.text(0, 'stderr')),
        },
      },
    });
    expect(two).toMatchObject({ result: 'failure', exitCode: 3, reason: { code: 'exit-code' } });
    expect(three).toMatchObject({ result: 'skipped', log: { bytes: 0, sha256: {} } });
    expect(ending(taken.events)).toMatchObject({
      result: 'failure',
      reason: { code: 'exit-code', message: 'step two: exit code 3' },
    });
    session.dispatch({ type: 'drain' });
    expect(await session.ended).toMatchObject({ why: 'drained' });
    expect(builds.attempts).toEqual([]);
    expect(await readdir(join(dataDir, 'spool'))).toEqual([]);
  });

  it.each([3, 7, 23])(
    'loses and doubles nothing when each %ith frame is the last of its connection',
    async (every) => {
      const { session } = await startWorker();
      let cuts = 0;
      master.cutAt = (frame) => frame % every === 0 && ++cuts <= 25;
      const body = 'lines stdout 300 1\nbytes stderr 400000\nlines stdout 300\nbytes 300000';
      const taken = [1, 2, 3].map((number) =>
        master.order(
          plan(
            [run(body), run('write out/a.txt hello'), { kind: 'artifacts', name: 'a', env: {} }],
            {
              number,
              artifacts: ['out/*'],
            },
          ),
        ),
      );
      await master.until(() => taken.every(({ finished }) => finished));
      for (const one of taken) {
        const [first] = one.events.filter(({ kind }) => kind === 'step.finished');
        expect(one.text(0, 'stdout').subarray(0, 20).toString()).toBe(lines(300).slice(0, 20));
        expect(one.text(0, 'stderr')).toHaveLength(400_000);
        expect(one.text(0, 'stdout')).toHaveLength(2 * lines(300).length + 300_000);
        expect(first).toMatchObject({
          log: {
            sha256: {
              stdout: sha256(one.text(0, 'stdout')),
              stderr: sha256(one.text(0, 'stderr')),
            },
          },
        });
        expect(new Set(one.stored)).toEqual(new Set(['out/a.txt']));
        expect(ending(one.events)).toMatchObject({ result: 'success' });
      }
      expect(cuts).toBeGreaterThan(0);
      session.dispatch({ type: 'drain' });
      await session.ended;
    },
  );

  it('resumes a big artifact where it was cut', async () => {
    const { session } = await startWorker();
    let cuts = 0;
    master.cutAt = (frame) => frame % 7 === 0 && ++cuts <= 5;
    const big = 'x'.repeat(1_500_000);
    const taken = master.order(
      plan([run(`write big.bin ${big}`), { kind: 'artifacts', name: 'a', env: {} }], {
        artifacts: ['big.bin'],
      }),
    );
    await master.until(() => taken.finished);
    expect(ending(taken.events)).toMatchObject({ result: 'success' });
    expect(Buffer.concat(taken.files.get(0)?.parts ?? []).toString()).toBe(`${big}\n`);
    expect(cuts).toBeGreaterThanOrEqual(5);
    session.dispatch({ type: 'drain' });
    await session.ended;
  });

  it('cancels a step, whose last output still arrives', async () => {
    const { session } = await startWorker();
    const taken = master.order(plan([run('stdout before\nsleep 60000'), run('stdout after')]));
    await master.until(() => taken.text(0, 'stdout').length > 0);
    const reason = { code: 'cancelled', message: 'cancelled by ann' };
    master.send({ type: 'cancel', build: taken.build, epoch: 1, reason });
    await master.until(() => taken.finished);
    expect(taken.text(0, 'stdout').toString()).toBe('before\n');
    expect(ending(taken.events)).toEqual({ kind: 'build.finished', result: 'cancelled', reason });
    session.dispatch({ type: 'drain' });
    await session.ended;
  });

  it('hands a build back as retry when it is told to stop now', async () => {
    const { session } = await startWorker();
    const taken = master.order(plan([run('stdout before\nsleep 60000')]));
    await master.until(() => taken.text(0, 'stdout').length > 0);
    session.dispatch({ type: 'drain' });
    session.dispatch({ type: 'stop' });
    expect(await session.ended).toMatchObject({ why: 'drained' });
    expect(ending(taken.events)).toMatchObject({ result: 'retry' });
  });

  it('ends what an earlier process left and cannot be taken up, and delivers it', async () => {
    const before = await startWorker();
    const taken = master.order(plan([run('stdout before\nsleep 60000'), run('stdout after')]));
    await master.until(() => taken.text(0, 'stdout').length > 0);
    // The process dies: what it has written is there, and nothing of it acts any more.
    before.isolate();
    const folder = join(dataDir, 'again');
    await cp(join(dataDir, 'spool'), join(folder, 'spool'), { recursive: true });
    const { session } = await startWorker(folder);
    await master.until(() => taken.finished);
    expect(taken.events.slice(-3)).toMatchObject([
      { kind: 'step.finished', step: 0, result: 'retry', log: { bytes: taken.lengths.get(0) } },
      { kind: 'step.finished', step: 1, result: 'skipped' },
      {
        result: 'retry',
        reason: { message: 'the worker was restarted, and its workspace is gone' },
      },
    ]);
    session.dispatch({ type: 'drain' });
    await session.ended;
    before.session.dispatch({ type: 'stop' });
    await before.session.ended;
    await before.builds.settled();
  });

  it('lets a build run on without its master when the spool is full, and says what is missing', async () => {
    // Of what was compressed; with no patience, so that nothing here waits.
    const worker = await startWorker(dataDir, 2, new Budget(20_000, 0));
    const { session, builds, isolate, rejoin } = worker;
    const taken = master.order(plan([run('stdout begin\nsleep 200\nbytes 20000000\nstderr end')]));
    await master.until(() => taken.text(0, 'stdout').length > 0);
    isolate();
    const journal = builds.journal({ build: 1, epoch: 1 });
    while (!journal?.progress.finished) await delay(10);
    rejoin();
    await master.until(() => taken.finished);
    expect(ending(taken.events)).toMatchObject({ result: 'success' });
    const kept = taken.text(0, 'stdout').length - 'begin\n'.length;
    const told = /here (\d+) bytes of stdout are missing/.exec(taken.text(0, 'system').toString());
    expect(kept + Number(told?.[1])).toBe(20_000_000);
    expect(kept).toBeLessThan(10_000_000);
    const [step] = taken.events.filter(({ kind }) => kind === 'step.finished');
    expect(step).toMatchObject({ log: { bytes: taken.lengths.get(0) } });
    expect(JSON.stringify(step)).not.toContain('"stdout"');
    session.dispatch({ type: 'drain' });
    await session.ended;
  });

  it('stops for good when it is revoked', async () => {
    const { session, builds } = await startWorker();
    const taken = master.order(plan([run('stdout before\nsleep 60000')]));
    await master.until(() => taken.text(0, 'stdout').length > 0);
    master.closeWith(CLOSE.revoked);
    expect(await session.ended).toMatchObject({ why: 'revoked' });
    await builds.settled();
  });

  it('closes on a master that talks nonsense, and comes back', async () => {
    const { session } = await startWorker();
    await master.until(() => master.hellos.length === 1);
    master.sendText('{"type":"welcome"}');
    await master.until(() => master.hellos.length === 2);
    master.sendText('\u0000');
    await master.until(() => master.hellos.length === 3);
    session.dispatch({ type: 'drain' });
    await session.ended;
  });
});
