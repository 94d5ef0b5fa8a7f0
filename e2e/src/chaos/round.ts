/** One round: a farm, a build that writes, faults while it does, and then the books are opened. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { BuildDetail, BuildRequest, FarmEvent, Page, Step } from '@impgem/client';
import { eventually } from '@impgem/testkit';
import type { Farm } from '../farm.js';
import { makeRepository } from '../repository.js';
import { Chance } from '../sim/chance.js';
import { IMAGE } from './engine.js';
import { FAULTS, type Kind } from './faults.js';
import type { Ground } from './ground.js';
import { ARTIFACT, chaoticBuild, STREAMS, type ChaoticBuild } from './output.js';
import type { Blow, Plan } from './plan.js';
import { Stage } from './stage.js';
import { machineTools } from './tools.js';

export interface Hit {
  kind: Kind;
  /** The step ran, and wrote. */
  writing: boolean;
}

export interface RoundReport {
  plan: Plan;
  hits: Hit[];
  attempts: number;
  bytes: number;
  leaks: string[];
  /** What was not as it should be, leaks included; empty when the round passed. */
  problems: string[];
  seconds: number;
  /** What happened when, in seconds from the start. */
  course: string[];
  /** Where the logs of a failed round are kept. */
  kept?: string;
}

const BUILD_MS = 180_000;
const LEAVE_MS = 15_000;

export async function playRound(ground: Ground, plan: Plan): Promise<RoundReport> {
  const begun = performance.now();
  // one that did not come back must not spoil the rounds that follow
  await ground.engine.revive();
  const before = await machineTools.snapshot(ground.engine.host);
  const traces = machineTools.traces(ground.mark);
  const dir = await mkdtemp(join(ground.dir, 'round-'));
  await chmod(dir, 0o755);
  const round = new Round(ground, plan, dir);
  await round.play();
  const { problems, report } = round;
  report.leaks.push(...(await leftOver(ground, before, traces)));
  problems.push(...report.leaks);
  report.seconds = (performance.now() - begun) / 1000;
  if (problems.length > 0) report.kept = await keep(ground, plan, round);
  await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  return report;
}

/** Kept on purpose: the image of the workers' holders, and an engine's own network, which each start makes anew. */
const KEPT =
  /^images: left over: impgem\.invalid\/holder:|^networks: (left over|gone): bridge$|^mounts: left over: .*\/exec\/netns\/default$/;

/** What stays: an engine takes a moment to remove things, a process to end. */
async function leftOver(
  { engine, mark }: Ground,
  before: Awaited<ReturnType<typeof machineTools.snapshot>>,
  traces: Map<string, string>,
): Promise<string[]> {
  let found: string[] = [];
  const look = async (): Promise<boolean> => {
    const now = await machineTools.snapshot(engine.host);
    // of processes and mounts only those with our mark are ours: others work on this machine as well
    const lists = { ...now, mounts: before.mounts, processes: before.processes };
    // an engine that was killed and came back is another process, and no leftover
    const own = engine.isOwn ? engine.processes().map((pid) => `process ${pid}@`) : [];
    const mine = [...machineTools.traces(mark)].filter(
      ([id]) => !traces.has(id) && !own.some((start) => id.startsWith(start)),
    );
    const all = [...machineTools.differences(before, lists), ...mine.map(([, text]) => text)];
    found = all.filter((line) => !KEPT.test(line));
    return found.length === 0;
  };
  await eventually(look, { timeoutMs: LEAVE_MS }).catch((error: unknown) => {
    if (found.length === 0) found = [`cannot look for what is left over: ${String(error)}`];
  });
  return found;
}

async function keep(
  { keepIn }: Ground,
  { seed }: Plan,
  { stage, problems, report }: Round,
): Promise<string> {
  const folder = join(keepIn, `seed-${seed}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const { name, output } of stage.said()) await writeFile(join(folder, `${name}.log`), output);
  const course = [...problems, '', ...report.course];
  await writeFile(join(folder, 'problems.txt'), `${course.join('\n')}\n`);
  return folder;
}

class Round {
  readonly stage: Stage;
  readonly build: ChaoticBuild;
  readonly report: RoundReport;
  readonly #chance: Chance;
  readonly #begun = performance.now();

  constructor(
    private readonly ground: Ground,
    private readonly plan: Plan,
    private readonly dir: string,
  ) {
    const { seed, database, lostAfterS, withLine } = plan;
    const { engine, mark } = ground;
    this.#chance = new Chance(seed + 1);
    this.build = chaoticBuild(seed, ground.amount, withLine);
    this.report = {
      plan,
      hits: [],
      attempts: 0,
      bytes: 0,
      leaks: [],
      problems: [],
      seconds: 0,
      course: [],
    };
    this.stage = new Stage({
      dir,
      mark,
      engineHost: engine.host,
      database,
      lostAfterS,
      spaces: engine.isOwn,
    });
  }

  #note(what: string): void {
    this.report.course.push(`${((performance.now() - this.#begun) / 1000).toFixed(1)} s: ${what}`);
  }

  get problems(): string[] {
    return this.report.problems;
  }

  /** Never rejects: what goes wrong is one of the problems. */
  async play(): Promise<void> {
    try {
      await this.stage.start();
      this.#note('all programs are there');
      await this.#play();
    } catch (error) {
      this.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
    } finally {
      this.#note('the end');
      this.problems.push(...(await this.stage.stop()));
      this.#note('all programs have ended');
    }
  }

  async #play(): Promise<void> {
    const { stage } = this;
    const source = await makeRepository(join(this.dir, 'repository'), this.build.files);
    const steps = this.build.steps.map(({ name }) => `{ name: ${name}, run: sh -e ${name}.sh }`);
    const farm = `builders:
  chaos:
    image: ${IMAGE}
    source: ${source}
    steps: [${steps.join(', ')}]
    artifacts: [${ARTIFACT}]
`;
    await stage.ask((master) => master.apply(farm));
    const folders = await this.#workerFolders();
    this.#note('the build is asked for');
    const { id } = await stage.ask((master) => master.request('chaos'));
    const struck: Struck[] = [];
    for (const blow of this.plan.blows) {
      const one = await this.#strike(id, blow);
      if (one) struck.push(one);
    }
    const request = await this.#end(id);
    this.#note(`the request has ended as ${request.result}`);
    const builds: BuildDetail[] = [];
    for (const one of request.builds) builds.push(await stage.build(one.id));
    this.report.attempts = builds.length;
    for (const one of struck) this.#count(one, builds);
    await this.#judge(request, builds);
    this.#note('its logs are compared');
    await this.#untilIdle();
    this.#note('the workers are idle');
    this.#same('files of the workers', folders, await this.#workerFolders());
    await this.#judgeBlobs();
  }

  /** Makes the fault while a step writes; nothing when the build was faster. */
  async #strike(request: number, blow: Blow): Promise<Struck | undefined> {
    const { stage, plan } = this;
    const { kind } = blow;
    const target = await this.#target(request, blow);
    if (target === 'over') {
      this.report.hits.push({ kind, writing: false });
      return undefined;
    }
    const { build, step, told } = target;
    const worker = stage.worker(build.worker);
    const { engine } = this.ground;
    const scene = {
      stage,
      engine,
      chance: this.#chance,
      request,
      worker,
      lostAfterS: plan.lostAfterS,
    };
    this.#note(`${kind}, at ${told}, on ${worker.name}`);
    await FAULTS[kind].strike(scene);
    this.#note(`${kind} is over`);
    return { kind, build: build.id, step };
  }

  /**
   * Waits until a step, the one of the plan at first, has written its share. The farm may be behind after a fault, so
   * the engine is asked what runs; a step that has run for so long, whatever the farm knows of it, has written.
   */
  #target(request: number, { kind, step, share }: Blow): Promise<Target | 'over'> {
    let seen = '';
    const left = this.build.steps.slice(step).map(({ name, bytes }) => ({ name, bytes }));
    const { bursts, pauseS } = this.ground.amount;
    const longMs = (bursts * pauseS * 1000) / 3;
    const since = new Map<string, number>();
    const look = async (): Promise<Target | 'over' | undefined> => {
      const now = await this.stage.request(request);
      if (now.state === 'finished') return 'over';
      const last = now.builds.at(-1);
      if (last?.state !== 'running') return undefined;
      const build = await this.stage.build(last.id);
      const commands = await this.ground.engine.commands(build.id);
      const one = left.find(({ name }) => commands.some((text) => text.includes(`${name}.sh`)));
      if (!one) return undefined;
      const { name, bytes } = one;
      const found = build.steps.find((each) => each.name === name) as Step;
      seen = `${name} of attempt ${build.attempt}, ${found.log.bytes} of ${bytes} bytes known`;
      const run = `${build.id} ${name}`;
      const begun = since.get(run) ?? performance.now();
      since.set(run, begun);
      const wrote = found.log.bytes > share * bytes || performance.now() - begun > longMs;
      return wrote ? { build, step: name, told: seen } : undefined;
    };
    return eventually(look, {
      timeoutMs: BUILD_MS,
      what: `output to strike at (${kind})`,
      saw: () => seen,
    });
  }

  /** A fault is a hit when its step, which ran when it was made, is one that wrote. */
  #count({ kind, build, step }: Struck, builds: readonly BuildDetail[]): void {
    const found = builds.find(({ id }) => id === build)?.steps.find(({ name }) => name === step);
    this.report.hits.push({ kind, writing: (found?.log.bytes ?? 0) > 0 });
  }

  async #end(id: number): Promise<BuildRequest> {
    let seen: BuildRequest | undefined;
    return eventually(
      async () => {
        seen = await this.stage.request(id);
        return seen.state === 'finished' && seen;
      },
      { timeoutMs: BUILD_MS, what: 'the end of the request', saw: () => JSON.stringify(seen) },
    );
  }

  async #judge(request: BuildRequest, builds: readonly BuildDetail[]): Promise<void> {
    const spoilt = this.report.hits.filter(
      ({ kind, writing }) => writing && FAULTS[kind].spoils,
    ).length;
    this.#same('result', 'success', request.result);
    const told = builds.map(
      ({ result, reason }) => `${result} (${reason?.message ?? 'no reason'})`,
    );
    this.#same('attempts', spoilt + 1, builds.length, told.join('; '));
    this.#same('successes', 1, builds.filter(({ result }) => result === 'success').length);
    const last = builds.at(-1);
    if (!last) return;
    for (const build of builds) {
      if (build !== last && !['retry', 'exception'].includes(build.result ?? ''))
        this.problems.push(`attempt ${build.attempt} ended as ${build.result}`);
      for (const step of this.build.steps) await this.#judgeStep(build, step, build === last);
    }
    const { items } = await this.stage.ask((master) =>
      master.api<Page<FarmEvent>>('GET', `/events?build=${last.id}&limit=200`),
    );
    // one that was given up and taken back by its worker has ended before
    const taken = items.findLastIndex(({ kind }) => kind === 'build.assigned');
    const ends = items.filter(
      ({ kind }, at) =>
        kind === 'request.finished' || (kind === 'build.finished' && (at > taken || taken < 0)),
    );
    this.#same(
      'events of the end',
      'build.finished request.finished',
      ends
        .map(({ kind }) => kind)
        .sort()
        .join(' '),
    );
    const kept = last.artifacts
      .map(({ path, size, sha256 }) => `${path} ${size} ${sha256}`)
      .join(', ');
    const { bytes, sha256 } = this.build.artifact;
    this.#same('artifact', `${ARTIFACT} ${bytes} ${sha256}`, kept);
    const got = await this.stage.ask((master) => master.artifact(last.id, ARTIFACT));
    this.#same('artifact, downloaded', sha256, hash(got));
  }

  /** The last attempt's log is what was written; that of one that was given up is a beginning of it. */
  async #judgeStep(
    build: BuildDetail,
    truth: ChaoticBuild['steps'][number],
    whole: boolean,
  ): Promise<void> {
    const step = build.steps.find(({ name }) => name === truth.name);
    const what = `attempt ${build.attempt}, ${truth.name}`;
    if (!step) return void this.problems.push(`${what}: there is no such step`);
    for (const stream of STREAMS) {
      const log = await this.stage.ask((master) => digest(master, build.id, step.index, stream));
      const expected = truth.expected(stream, whole ? undefined : log.bytes);
      this.#same(
        `${what}, ${stream}`,
        `${expected.bytes} bytes ${expected.sha256}`,
        `${log.bytes} bytes ${log.sha256}`,
      );
      const told = step.log.sha256?.[stream];
      if (whole || told)
        this.#same(`${what}, ${stream}, as the farm tells it`, log.sha256, told ?? '');
      this.report.bytes += log.bytes;
    }
  }

  /** Both workers are there again and have nothing left to do. */
  async #untilIdle(): Promise<void> {
    let seen: unknown;
    await eventually(
      async () => {
        const states = await this.stage.workerStates();
        const folders = await this.#workerFolders();
        seen = [states, folders];
        const idle = states.every(({ state, running }) => state === 'online' && running === 0);
        return idle && !folders.includes('/spool/');
      },
      { what: 'idle workers', saw: () => JSON.stringify(seen) },
    );
  }

  /** Names of all that the workers keep, but for the mirrors of repositories, which they keep to be faster. */
  async #workerFolders(): Promise<string> {
    const all: string[] = [];
    for (const { name } of this.stage.workers) {
      const names = await readdir(join(this.dir, name), { recursive: true });
      const kept = names.filter(
        (one) => !/^mirrors(\/[^/]+\.git)?(\/|$)/.test(one) || one.includes('clone-'),
      );
      all.push(...kept.map((one) => `${name}/${one}`));
    }
    const temporary = await readdir(join(this.dir, 'tmp'));
    return [...all, ...temporary.map((one) => `tmp/${one}`)].sort().join('\n');
  }

  /** Artifacts and sealed logs are files that are what their names say, and no half ones are left. */
  async #judgeBlobs(): Promise<void> {
    const files = async (below: string): Promise<string[]> => {
      const folder = join(this.dir, 'master', below);
      const all = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
      return all.filter((entry) => entry.isFile()).map(({ path, name }) => join(path, name));
    };
    const blobs = await files('blobs');
    for (const blob of blobs) this.#same('a blob', basename(blob), hash(await readFile(blob)));
    const { sha256 } = this.build.artifact;
    this.#same('blobs of the artifact', 1, blobs.filter((blob) => blob.endsWith(sha256)).length);
    this.#same('half artifacts', '', (await files('incoming')).join(' '));
  }

  #same(what: string, expected: unknown, got: unknown, more = ''): void {
    if (expected !== got)
      this.problems.push(
        `${what}: expected ${String(expected)}, got ${String(got)} ${more}`.trimEnd(),
      );
  }
}

/** A step that writes. */
interface Target {
  build: BuildDetail;
  step: string;
  told: string;
}

interface Struck {
  kind: Kind;
  build: number;
  step: string;
}

const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function digest(master: Farm, build: number, step: number, stream: string) {
  const bytes = await master.log(build, step, `?stream=${stream}`);
  return { bytes: bytes.length, sha256: hash(bytes) };
}
