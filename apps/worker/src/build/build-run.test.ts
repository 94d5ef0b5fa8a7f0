import { afterEach, describe, expect, it } from '@jest/globals';
import type { BuildPlan, PlannedStep } from '@impgem/pipeline';
import { decodeFrame, type ArtifactFrame, type BuildEvent } from '@impgem/protocol';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { FarmError } from '@impgem/kit';
import tar from 'tar-stream';
import { crc32, inflateRawSync } from 'node:zlib';
import { createExecutor, DOCKER_DEFAULTS, type Executor } from '../executor/index.js';
import { Budget, type NewRecord } from '../spool/index.js';
import { BuildRun, type BuildSurroundings } from './build-run.js';
import { Uploads, type ArtifactLink } from './uploads.js';

const open: Executor[] = [];
afterEach(async () => {
  for (const executor of open.splice(0)) await executor.close();
});

const step = (run: string, more: Partial<PlannedStep> = {}): PlannedStep => ({
  kind: 'run',
  name: 'step',
  run,
  env: {},
  ...more,
});
const ARTIFACTS: PlannedStep = { kind: 'artifacts', name: 'artifacts', env: {} };
const CHECKOUT: PlannedStep = { kind: 'checkout', name: 'checkout', env: {} };

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** Takes every artifact at once, but not the unwanted, nor a pack with one of them. */
function link(
  stored: string[],
  unwanted: string[] = [],
  limits: { buildArtifactBytes?: number } = {},
): { uploads: Uploads; gone: AbortController } {
  const uploads = new Uploads();
  const gone = new AbortController();
  const made: ArtifactLink = {
    limits: { frameBytes: 1 << 20, windowBytes: 1 << 20, artifactWindowBytes: 1 << 16, ...limits },
    gone: gone.signal,
    send: (message) => {
      const { build, epoch, artifact } = message;
      if (message.type === 'artifact.offer') stored.push(message.path);
      const paths = message.type === 'artifact.offer' ? (message.files ?? [message]) : [];
      const refuse = paths.some(({ path }) => unwanted.includes(path));
      const reason = { code: 'artifact-refused', message: 'it is not wanted' };
      queueMicrotask(() =>
        uploads.answer(
          refuse
            ? { type: 'artifact.refused', build, epoch, artifact, reason }
            : message.type === 'artifact.offer'
              ? { type: 'artifact.accept', build, epoch, artifact, offset: 0 }
              : { type: 'artifact.stored', build, epoch, artifact },
        ),
      );
    },
    block: async (frame) => {
      const { build, epoch, artifact, offset, payload } = decodeFrame(frame) as ArtifactFrame;
      const end = offset + payload.length;
      uploads.answer({ type: 'artifact.ack', build, epoch, artifact, offset: end });
    },
  };
  uploads.online(made);
  return { uploads, gone };
}

function scripted(): Executor {
  const executor = createExecutor({
    executor: 'scripted',
    dataDir: '/nowhere',
    allowHost: false,
    docker: DOCKER_DEFAULTS,
  });
  open.push(executor);
  return executor;
}

function build(
  steps: PlannedStep[],
  more: Partial<BuildPlan> = {},
  around: Partial<BuildSurroundings> = {},
) {
  const executor = scripted();
  const stored: string[] = [];
  const records: NewRecord[] = [];
  let seen: (() => void)[] = [];
  const plan: BuildPlan = {
    builder: 'b',
    number: 1,
    steps,
    artifacts: [],
    properties: {},
    timeoutMs: 60_000,
    ...more,
  };
  const run = new BuildRun(
    {
      attempt: { build: 1, epoch: 1 },
      slot: 0,
      plan,
      append: async (record) => {
        records.push(record);
        for (const look of seen.splice(0)) look();
      },
      launching: async () => {},
      stopping: async () => {},
    },
    {
      executor,
      budget: new Budget(Infinity),
      uploads: link(stored).uploads,
      log: pino({ level: 'silent' }),
      checkout: async () => {
        throw new FarmError('source-unavailable', 'no answer from git.example.org');
      },
      ...around,
    },
  );
  const events = (): BuildEvent[] =>
    records.flatMap((record) => (record.kind === 'event' ? [record.event] : []));
  const text = (at: number, stream: string): Buffer =>
    Buffer.concat(
      records.flatMap((record) => {
        if (record.kind !== 'log' || record.frame.step !== at) return [];
        if (record.frame.stream !== stream) return [];
        const bytes = inflateRawSync(record.frame.payload, { finishFlush: 2 });
        expect(crc32(bytes)).toBe(record.frame.crc32);
        return [bytes];
      }),
    );
  const finished = (at: number) =>
    events().find((event) => event.kind === 'step.finished' && event.step === at);
  const until = async (what: () => boolean): Promise<void> => {
    while (!what()) await new Promise<void>((resolve) => (seen = [...seen, resolve]));
  };
  return { run, events, text, finished, stored, until, records };
}

/** The scripted executor on a machine whose engine is away at first. */
function awayAtFirst(times: number): { executor: Executor; left: () => number } {
  const executor = scripted();
  const create = executor.createWorkspace.bind(executor);
  executor.createWorkspace = (attempt, slot) => {
    times -= 1;
    if (times < 0) return create(attempt, slot);
    return Promise.reject(new FarmError('engine-unavailable', 'connect ECONNREFUSED'));
  };
  return { executor, left: () => times };
}

describe('BuildRun', () => {
  it('waits for an engine that is restarted, so that it uses up no attempt', async () => {
    const { executor } = awayAtFirst(2);
    const { run, events } = build([step('stdout a')], {}, { executor });
    await run.run();
    expect(events().at(-1)).toEqual({ kind: 'build.finished', result: 'success' });
  });

  it('waits for no engine when it is stopped', async () => {
    const { executor, left } = awayAtFirst(1000);
    const { run, events } = build([step('stdout a')], {}, { executor });
    const ran = run.run();
    run.interrupt({ kind: 'cancel', reason: { code: 'cancelled', message: 'enough' } });
    await ran;
    expect(events().at(-1)).toMatchObject({ kind: 'build.finished', result: 'cancelled' });
    expect(left()).toBeGreaterThan(900);
  });

  it('ends a build whose steps all went well as a success', async () => {
    const { run, events } = build([step('stdout a'), step('stdout b')]);
    await run.run();
    expect(events().map(({ kind }) => kind)).toEqual([
      'build.started',
      'step.started',
      'step.finished',
      'step.started',
      'step.finished',
      'build.finished',
    ]);
    expect(events().at(-1)).toEqual({ kind: 'build.finished', result: 'success' });
  });

  it('stops a step that writes more than the worker takes, and keeps its log up to there', async () => {
    const { run, finished, text, events } = build(
      [step('lines stdout 100000\nsleep 600000', { name: 'flood' }), step('stdout b')],
      {},
      { stepLog: 5000 },
    );
    await run.run();
    const out = text(0, 'stdout');
    expect(out.length).toBe(5000);
    expect(out.toString()).toMatch(/^line 1\nline 2\n/);
    expect(text(0, 'system').toString()).toContain('the log of the output ends here');
    expect(finished(0)).toMatchObject({
      result: 'failure',
      reason: { code: 'output-limit', message: expect.stringContaining('5000 bytes') },
      log: { sha256: { stdout: sha256(out) } },
    });
    expect(finished(1)).toMatchObject({ result: 'skipped' });
    expect(events().at(-1)).toMatchObject({ kind: 'build.finished', result: 'failure' });
  });

  it('skips what follows a failure, but collects the artifacts', async () => {
    const { run, finished, events, stored } = build(
      [step('write report.txt x\nexit 1', { name: 'test' }), step('stdout b'), ARTIFACTS],
      { artifacts: ['report.txt', 'never-made'] },
    );
    await run.run();
    expect(finished(0)).toMatchObject({ result: 'failure', exitCode: 1 });
    expect(finished(1)).toMatchObject({ result: 'skipped' });
    expect(finished(2)).toMatchObject({ result: 'success' });
    expect(stored).toEqual(['report.txt']);
    expect(events().at(-1)).toMatchObject({
      result: 'failure',
      reason: { message: 'step test: exit code 1' },
    });
  });

  it('names a pattern that matched nothing', async () => {
    const { run, finished } = build([ARTIFACTS], { artifacts: ['dist/*.bin'] });
    await run.run();
    expect(finished(0)).toMatchObject({
      result: 'failure',
      reason: { code: 'artifact-missing', message: 'no file matches "dist/*.bin"' },
    });
  });

  it('leaves out what a wildcard met, says so, and stays green', async () => {
    const odd = ['link out/l /etc/shadow', 'write out/f x', 'write out/CON x', 'write out/F x'];
    const { run, finished, stored, text, events } = build([step(odd.join('\n')), ARTIFACTS], {
      artifacts: ['out/*'],
    });
    await run.run();
    expect(stored).toEqual(['out/F']);
    expect(finished(1)).toMatchObject({ result: 'success' });
    expect(events().at(-1)).toEqual({ kind: 'build.finished', result: 'success' });
    const said = text(1, 'system').toString();
    expect(said).toContain('left out 3 of what the patterns meet');
    expect(said).toMatch(/"out\/l": is a symbolic link.*"out\/f": another one/s);
  });

  it('refuses a link that is named by its whole path, and takes the rest', async () => {
    const { run, finished, stored } = build(
      [step('link out/l /etc/shadow\nwrite out/f x'), ARTIFACTS],
      { artifacts: ['out/*', 'out/l'] },
    );
    await run.run();
    expect(stored).toEqual(['out/f']);
    expect(finished(1)).toMatchObject({ result: 'failure', reason: { code: 'artifact-refused' } });
    expect(JSON.stringify(finished(1))).toContain('symbolic link');
  });

  it('sends nothing when all together are more than the farm takes of a build', async () => {
    const stored: string[] = [];
    const { run, finished } = build(
      [step('write out/a 12345\nwrite out/b 12345'), ARTIFACTS],
      { artifacts: ['out/*'] },
      { uploads: link(stored, [], { buildArtifactBytes: 9 }).uploads },
    );
    await run.run();
    expect(stored).toEqual([]);
    expect(finished(1)).toMatchObject({
      result: 'failure',
      reason: { code: 'artifact-refused', message: expect.stringContaining('12 bytes together') },
    });
  });

  it('sends many small files in packs, and by themselves when a pack is not taken', async () => {
    const names = Array.from({ length: 40 }, (_, n) => `out/f${String(n).padStart(2, '0')}`);
    const writes = step(
      [...names.map((name) => `write ${name} x`), `write out/big ${'y'.repeat(40_000)}`].join('\n'),
    );
    const good = build([writes, ARTIFACTS], { artifacts: ['out/*'] });
    await good.run.run();
    expect(good.finished(1)).toMatchObject({ result: 'success' });
    expect(good.stored).toEqual(['out/f00', 'out/big']);
    const stored: string[] = [];
    const picky = build(
      [writes, ARTIFACTS],
      { artifacts: ['out/*'] },
      { uploads: link(stored, ['out/f07']).uploads },
    );
    await picky.run.run();
    expect(picky.finished(1)).toMatchObject({
      result: 'failure',
      reason: { code: 'artifact-refused', message: 'refused: "out/f07": it is not wanted' },
    });
    expect(stored.toSorted()).toEqual(['out/big', 'out/f00', ...names].toSorted());
  });

  it('hints at what exit code 127 may mean', async () => {
    const { run, text } = build([step('exit 127')]);
    await run.run();
    expect(text(0, 'system').toString()).toContain('a command was not found');
  });

  it('tells out of memory, and infrastructure, by their reasons', async () => {
    const oom = build([step('oom')]);
    await oom.run.run();
    expect(oom.finished(0)).toMatchObject({ result: 'failure', reason: { code: 'out-of-memory' } });
    const image = build([step('fail-start image-unavailable no such image: nope'), ARTIFACTS]);
    await image.run.run();
    expect(image.finished(0)).toMatchObject({
      result: 'exception',
      reason: { code: 'image-unavailable', message: 'no such image: nope' },
    });
    expect(image.finished(1)).toMatchObject({ result: 'skipped' });
  });

  it('brings the source and tells its revision', async () => {
    const pack = tar.pack();
    pack.entry({ name: 'main.c' }, 'int main;');
    pack.finalize();
    const { run, events, text } = build(
      [CHECKOUT, step('cat main.c')],
      { source: { git: 'https://git.example.org/x' } },
      {
        checkout: async () => ({ revision: 'abc', tar: pack as unknown as Readable, outward: [] }),
      },
    );
    await run.run();
    expect(events()).toContainEqual({ kind: 'property.set', name: 'got_revision', value: 'abc' });
    expect(text(1, 'stdout').toString()).toBe('int main;');
  });

  it('ends with an exception when the source cannot be had', async () => {
    const { run, finished, text } = build([CHECKOUT], {
      source: { git: 'https://git.example.org/x' },
    });
    await run.run();
    expect(finished(0)).toMatchObject({
      result: 'exception',
      reason: { code: 'source-unavailable' },
    });
    expect(text(0, 'system').toString()).toContain('no answer from git.example.org');
  });

  it('stops a step at its time limit, and still collects', async () => {
    const { run, finished } = build([step('sleep 60000', { timeoutMs: 20 }), ARTIFACTS]);
    await run.run();
    expect(finished(0)).toMatchObject({ result: 'failure', reason: { code: 'step-timeout' } });
    expect(finished(1)).toMatchObject({ result: 'success' });
  });

  it('stops a step that is silent for too long, keeps what it said, and still collects', async () => {
    const { run, finished, text } = build([
      step('stdout a word\nsleep 60000', { silenceTimeoutMs: 20 }),
      ARTIFACTS,
    ]);
    await run.run();
    expect(finished(0)).toMatchObject({
      result: 'failure',
      reason: {
        code: 'silence-timeout',
        message: 'the step said nothing for longer than 0.02 s',
      },
    });
    expect(text(0, 'stdout').toString()).toBe('a word\n');
    expect(text(0, 'system').toString()).toContain('said nothing for longer than 0.02 s');
    expect(finished(1)).toMatchObject({ result: 'success' });
  });

  it('stops a build at its time limit', async () => {
    const { run, events, finished } = build([step('sleep 60000'), ARTIFACTS], { timeoutMs: 20 });
    await run.run();
    expect(finished(1)).toMatchObject({ result: 'skipped' });
    expect(events().at(-1)).toMatchObject({ result: 'failure', reason: { code: 'build-timeout' } });
  });

  it('cancels before it begins, while it runs, and while an artifact waits', async () => {
    const reason = { code: 'cancelled', message: 'cancelled by ann' };
    const stop = { kind: 'cancel' as const, reason };
    const before = build([step('stdout a')]);
    before.run.interrupt(stop);
    await before.run.run();
    expect(before.finished(0)).toMatchObject({ result: 'skipped' });
    const offline = build(
      [step('write f x'), ARTIFACTS],
      { artifacts: ['f'] },
      { uploads: new Uploads() },
    );
    const waits = offline.run.run();
    await offline.until(() =>
      offline.events().some((event) => event.kind === 'step.started' && event.step === 1),
    );
    offline.run.interrupt(stop);
    await waits;
    expect(offline.finished(1)).toMatchObject({ result: 'cancelled' });
    for (const { events } of [before, offline])
      expect(events().at(-1)).toEqual({ kind: 'build.finished', result: 'cancelled', reason });
  });

  it('says nothing more of a build that is not its own', async () => {
    const { run, events, until, text } = build([step('stdout a\nsleep 60000'), step('stdout b')]);
    const over = run.run();
    await until(() => text(0, 'stdout').length > 0);
    run.interrupt({ kind: 'abandon', reason: { code: 'stale', message: 'taken' } });
    await over;
    expect(events().map(({ kind }) => kind)).toEqual(['build.started', 'step.started']);
  });

  it('carries any bytes: a line of 20 MB, NUL, invalid UTF-8, both streams', async () => {
    const { run, finished, text } = build([
      step('base64 stderr AP/+AA==\nbytes 20000000\nbase64 stderr wwA='),
    ]);
    await run.run();
    expect(text(0, 'stdout')).toHaveLength(20_000_000);
    expect(text(0, 'stderr')).toEqual(Buffer.from([0, 255, 254, 0, 0xc3, 0]));
    expect(finished(0)).toMatchObject({
      log: { sha256: { stdout: sha256(text(0, 'stdout')), stderr: sha256(text(0, 'stderr')) } },
    });
  });
});
