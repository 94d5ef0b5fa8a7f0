import { FarmError, invariant } from '@impgem/kit';
import type Docker from 'dockerode';
import { posix } from 'node:path';
import type { DockerConfig } from '../config.js';
import { throwIfCancelled, unlessCancelled } from '../cancelled.js';
import { noFolder } from '../workdir.js';
import type {
  Attempt,
  Executor,
  Identity,
  OutputSink,
  RunningStep,
  StartOrder,
  StepSpec,
  Swept,
  Workspace,
  WorkspaceUse,
} from '../executor.js';
import { DockerStep, removeContainer } from './docker-step.js';
import { DockerWorkspace } from './docker-workspace.js';
import type { WorkspaceOrder } from './docker-workspace.js';
import { connect, engineFailure, noEngine, runOf, statusOf, wordsOf } from './engine.js';
import { holderImage } from './holder-image.js';
import type { HolderImage } from './holder-image.js';
import { Holders } from './holders.js';
import type { Holder } from './holders.js';
import { ImageStorage } from './image-storage.js';
import { Images } from './images.js';
import { labelsOf, nameOf, ownFilter, roleOf } from './labels.js';
import { checkImage, isPinned, loadPolicy, loosened, ownImage } from './policy.js';
import type { Policy } from './policy.js';
import { PulledImages } from './pulled-images.js';
import { StepImages } from './step-image.js';
import { RUN_LABEL, STEP_LABEL, stepOptions } from './step-options.js';
import { parseSubnet } from './subnets.js';
import { sweep } from './sweep.js';
import { usedBytes } from './used-bytes.js';

/** What `open` found out; without it nothing can run. */
interface Opened {
  identity: Identity;
  policy: Policy;
  image: HolderImage;
  holders: Holders;
  stepImages: StepImages;
}

/**
 * Runs each step in a container of its own, which shares the workspace volume and a warm network namespace
 * (the holder) with the others of its build. See `Holders` for the network, `StepOutput` for the output.
 */
export class DockerExecutor implements Executor {
  readonly name = 'docker';
  readonly storage: ImageStorage;
  readonly #engine: Docker;
  readonly #images: Images;
  readonly #workspaces = new Set<DockerWorkspace>();
  /** What refused to go at the last sweep. */
  readonly #stuck = new Set<string>();
  /** Attempts that have a workspace, or are about to. */
  readonly #live = new Set<string>();
  /** Attempts that another process began. */
  readonly #inherited = new Set<string>();
  #opened: Opened | undefined;
  /** Some packages of the engine leave its init program out. */
  #init = true;

  constructor(private readonly config: DockerConfig) {
    this.#engine = connect(config.host);
    const pulled = new PulledImages(config.imagesFile);
    const images = new Images(this.#engine, config.credentialsDir, pulled);
    this.#images = images;
    this.storage = new ImageStorage({
      engine: this.#engine,
      host: config.host,
      pulled,
      isPinned: (reference) => isPinned(this.#open().policy, reference),
      isHeld: (reference) => images.isHeld(reference),
    });
  }

  async open(identity: Identity): Promise<void> {
    const { host, policyFile, networksRange, resolvers, slots, programFile, ports } = this.config;
    const policy = await loadPolicy(policyFile);
    checkRange(networksRange);
    const engine = this.#engine;
    try {
      await engine.ping();
    } catch (error) {
      throw noEngine(error, host);
    }
    try {
      const image = await holderImage(engine, labelsOf(identity, 'helper'), programFile);
      const holders = new Holders({
        engine,
        identity,
        image: image.id,
        networksRange,
        resolvers,
        blocked: policy.blocked,
        host: policy.host,
        ports,
      });
      const stepImages = new StepImages(engine, labelsOf(identity, 'helper'));
      this.#opened = { identity, policy, image, holders, stepImages };
      // One more than can be in use, so that a reset is never waited for.
      if (policy.network === 'bridge') holders.warm(slots + 1);
    } catch (error) {
      throw engineFailure(error, 'prepare the holders of networks');
    }
  }

  async createWorkspace(attempt: Attempt, slot: number): Promise<Workspace> {
    const { identity, policy, holders } = this.#open();
    this.#checkSlot(slot);
    this.#live.add(keyOf(attempt));
    const volume = nameOf(identity, 'workspace', attempt);
    const engine = this.#engine;
    const holding = policy.network === 'bridge' ? holders.take() : Promise.resolve(undefined);
    const [held, made, run] = await Promise.allSettled([
      holding,
      engine.createVolume({
        Name: volume,
        Labels: labelsOf(identity, 'workspace', attempt),
        ...(policy.workspace !== undefined && { DriverOpts: { size: String(policy.workspace) } }),
      }),
      runOf(engine),
    ]);
    const failed = [held, made, run].find((one) => one.status === 'rejected');
    if (failed || held.status === 'rejected' || run.status === 'rejected') {
      if (held.status === 'fulfilled' && held.value) holders.give(held.value, false);
      if (made.status === 'fulfilled') await engine.getVolume(volume).remove();
      this.#live.delete(keyOf(attempt));
      throw engineFailure(failed?.reason, 'make a workspace');
    }
    return this.#workspace({ attempt, slot, volume, holder: held.value, run: run.value });
  }

  async reopenWorkspace(attempt: Attempt, slot: number): Promise<Workspace | undefined> {
    const { identity } = this.#open();
    this.#checkSlot(slot);
    this.#live.add(keyOf(attempt));
    this.#inherited.add(keyOf(attempt));
    const engine = this.#engine;
    const filters = ownFilter(identity, attempt);
    try {
      const [{ Volumes }, containers, run] = await Promise.all([
        engine.listVolumes({ filters }),
        engine.listContainers({ all: true, filters }),
        runOf(engine),
      ]);
      // Nobody reads through these any more.
      const readers = containers.filter(({ Labels }) => roleOf(Labels) !== 'step');
      await Promise.all(readers.map(({ Id }) => removeContainer(engine.getContainer(Id))));
      const [volume] = Volumes ?? [];
      if (!volume) {
        this.#live.delete(keyOf(attempt));
        return undefined;
      }
      const holder = await this.#holderOf(containers);
      return this.#workspace({ attempt, slot, volume: volume.Name, holder, run });
    } catch (error) {
      this.#live.delete(keyOf(attempt));
      throw engineFailure(error, 'find the workspace');
    }
  }

  async start(workspace: Workspace, step: StepSpec, order: StartOrder): Promise<RunningStep> {
    invariant(workspace instanceof DockerWorkspace, 'a workspace of another executor');
    const { policy, image: own, stepImages } = this.#open();
    const { sink, signal } = order;
    if (step.image === undefined) {
      throw new FarmError('image-unavailable', `step ${step.name} names no image`);
    }
    checkImage(policy, step.image);
    checkWorkdir(step.workdir);
    throwIfCancelled(signal);
    let release: (() => void) | undefined;
    try {
      release = this.#images.hold(step.image);
      const say = speaker(sink);
      const image = await this.#images.ensure(step.image, say.line, signal);
      // By its id, too: names are given by whoever may use the engine.
      if (own.own && image.id === own.id) throw ownImage(step.image);
      say.line(`image ${image.reference} ${image.digest}`);
      const shell = await stepImages.shellOf(image, say.line);
      await say.said();
      throwIfCancelled(signal);
      const spec = { ...step, image: image.reference, shell };
      const running = await this.#run(workspace, spec, order);
      workspace.add(running);
      return await unlessCancelled(running, workspace, signal);
    } catch (error) {
      if (/not a directory/i.test(wordsOf(error))) throw noFolder(step.workdir);
      throw engineFailure(error, `start the step ${step.name}`);
    } finally {
      release?.();
    }
  }

  async attach(
    workspace: Workspace,
    step: StepSpec,
    ref: string,
    sink: OutputSink,
  ): Promise<RunningStep | undefined> {
    invariant(workspace instanceof DockerWorkspace, 'a workspace of another executor');
    const engine = this.#engine;
    try {
      const { Labels } = await this.#containerOf(workspace, step, ref);
      if (Labels[RUN_LABEL] !== workspace.run) {
        // What a step writes while its engine is away is lost, whatever its exit says.
        const message = 'the Docker Engine was started anew while the worker was away';
        throw new FarmError('engine-unavailable', message);
      }
      const running = await DockerStep.attach(engine.getContainer(ref), { engine, sink });
      if (running) workspace.add(running);
      return running;
    } catch (error) {
      throw engineFailure(error, `take up the step ${step.name}`);
    }
  }

  async sweep(keep: readonly Attempt[]): Promise<Swept> {
    const { identity, holders } = this.#open();
    const kept = new Set(keep.map(keyOf));
    try {
      return await sweep(this.#engine, identity, {
        keeps: (attempt) => kept.has(keyOf(attempt)) || this.#live.has(keyOf(attempt)),
        owns: (name) => holders.owns(name),
        stuck: this.#stuck,
      });
    } catch (error) {
      throw engineFailure(error, 'sweep');
    }
  }

  workspacesAt(): Promise<string | undefined> {
    return this.storage.root();
  }

  async usage(): Promise<WorkspaceUse[]> {
    const { identity, image } = this.#open();
    const all = [...this.#workspaces].filter(({ disposed }) => !disposed);
    const order = { engine: this.#engine, identity, image: image.id };
    return Promise.all(
      all.map(async ({ attempt, volume }) => ({
        attempt,
        bytes: await usedBytes({ ...order, attempt, volume }),
      })),
    );
  }

  exposed(): Promise<string[]> {
    return this.#open().holders.exposed;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workspaces].map((workspace) => workspace.dispose()));
    await this.#opened?.holders.close();
  }

  async leave(): Promise<void> {
    await Promise.all([...this.#workspaces].map((workspace) => workspace.letGo()));
    await this.#opened?.holders.settled();
  }

  #open(): Opened {
    invariant(this.#opened, 'the executor was not opened');
    return this.#opened;
  }

  #checkSlot(slot: number): void {
    for (const other of this.#workspaces)
      invariant(other.disposed || other.slot !== slot, `slot ${slot} already has a workspace`);
  }

  #workspace(
    order: Pick<WorkspaceOrder, 'attempt' | 'slot' | 'volume' | 'holder' | 'run'>,
  ): DockerWorkspace {
    const { identity, image } = this.#open();
    const workspace = new DockerWorkspace({
      ...order,
      engine: this.#engine,
      identity,
      image: image.id,
      inherited: this.#inherited.has(keyOf(order.attempt)),
      onDispose: (gone) => this.#forget(gone),
    });
    this.#workspaces.add(workspace);
    return workspace;
  }

  /** The holder that a build is in; a new one when that is gone, or was never needed so far. */
  async #holderOf(containers: readonly Docker.ContainerInfo[]): Promise<Holder | undefined> {
    const { holders, policy } = this.#open();
    const modes = containers.map(({ HostConfig }) => HostConfig.NetworkMode);
    const joined = modes.find((mode) => mode.startsWith(JOINED));
    const adopted = joined && (await holders.adopt(joined.slice(JOINED.length)));
    if (adopted) return adopted;
    return policy.network === 'bridge' ? holders.take() : undefined;
  }

  /** The container by its id, if it is that step's. */
  async #containerOf(workspace: DockerWorkspace, step: StepSpec, ref: string) {
    const { identity } = this.#open();
    const filters = { ...ownFilter(identity, workspace.attempt), id: [ref] };
    filters.label.push(`${STEP_LABEL}=${step.index}`);
    const [found] = await this.#engine.listContainers({ all: true, filters });
    if (found) return found;
    throw new FarmError('worker-lost', 'its container is gone');
  }

  #forget(workspace: DockerWorkspace): void {
    const { holders, policy } = this.#open();
    this.#workspaces.delete(workspace);
    this.#live.delete(keyOf(workspace.attempt));
    this.#inherited.delete(keyOf(workspace.attempt));
    if (workspace.holder) holders.give(workspace.holder, loosened(policy));
  }

  async #run(
    workspace: DockerWorkspace,
    { shell, ...step }: StepSpec & { shell: string },
    { sink, launching }: StartOrder,
  ): Promise<DockerStep> {
    const { identity, policy, holders } = this.#open();
    for (let tries = 1; ; tries++) {
      const options = stepOptions({
        identity,
        attempt: workspace.attempt,
        step,
        shell,
        volume: workspace.volume,
        holder: workspace.holder?.container.id,
        policy,
        config: this.config,
        init: this.#init,
        run: workspace.run,
      });
      try {
        return await DockerStep.start({ engine: this.#engine, options, sink, launching });
      } catch (error) {
        if (tries > 2 || statusOf(error) === undefined) throw error;
        if (this.#init && /docker-init|init binary/i.test(wordsOf(error))) {
          this.#init = false;
        } else if (holderGone(error) && workspace.holder && !workspace.busy) {
          holders.give(workspace.holder, true);
          workspace.holder = undefined;
          workspace.holder = await holders.take();
        } else {
          throw error;
        }
      }
    }
  }
}

/** In a container's network mode, before the id of the one whose network it has. */
const JOINED = 'container:';

const keyOf = ({ build, epoch }: Attempt): string => `${build}-${epoch}`;

function holderGone(error: unknown): boolean {
  return /cannot join network of a non running container|No such container: [0-9a-f]{12}/i.test(
    wordsOf(error),
  );
}

function checkRange(range: string): void {
  try {
    parseSubnet(range);
  } catch (cause) {
    throw new FarmError(
      'worker-error',
      `the worker's range of networks: ${(cause as Error).message}`,
      {},
      { cause },
    );
  }
}

function checkWorkdir(workdir: string | undefined): void {
  if (workdir === undefined) return;
  const path = posix.normalize(workdir);
  if (posix.isAbsolute(path) || path === '..' || path.startsWith('../') || path.includes('\0')) {
    throw new FarmError(
      'workspace-error',
      `the workdir ${JSON.stringify(workdir)} leaves the workspace`,
    );
  }
}

/** Says lines of the farm's own in order, without making the caller of `line` wait. */
function speaker(sink: OutputSink): { line: (text: string) => void; said: () => Promise<void> } {
  let last: Promise<void> = Promise.resolve();
  return {
    line: (text) => {
      last = last.then(() => sink('system', Buffer.from(`${text}\n`)));
      last.catch(() => {});
    },
    said: () => last,
  };
}
