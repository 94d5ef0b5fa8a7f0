import { FarmError, invariant } from '@impgem/kit';
import type Docker from 'dockerode';
import { posix } from 'node:path';
import type { DockerConfig } from '../config.js';
import type {
  Attempt,
  Executor,
  Identity,
  OutputSink,
  RunningStep,
  StepSpec,
  Workspace,
} from '../executor.js';
import { DockerStep } from './docker-step.js';
import { DockerWorkspace } from './docker-workspace.js';
import { connect, engineFailure, noEngine, statusOf, wordsOf } from './engine.js';
import { holderImage } from './holder-image.js';
import { Holders } from './holders.js';
import { ImageStorage } from './image-storage.js';
import { Images } from './images.js';
import { labelsOf, nameOf } from './labels.js';
import { checkImage, isPinned, loadPolicy, loosened } from './policy.js';
import type { Policy } from './policy.js';
import { PulledImages } from './pulled-images.js';
import { stepOptions } from './step-options.js';
import { parseSubnet } from './subnets.js';
import { sweep } from './sweep.js';

/** What `open` found out; without it nothing can run. */
interface Opened {
  identity: Identity;
  policy: Policy;
  image: string;
  holders: Holders;
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
    const { host, policyFile, networksRange, resolvers, slots } = this.config;
    const policy = await loadPolicy(policyFile);
    checkRange(networksRange);
    const engine = this.#engine;
    try {
      await engine.ping();
    } catch (error) {
      throw noEngine(error, host);
    }
    try {
      const image = await holderImage(engine, labelsOf(identity, 'helper'));
      const holders = new Holders({ engine, identity, image, networksRange, resolvers });
      this.#opened = { identity, policy, image, holders };
      // One more than can be in use, so that a reset is never waited for.
      if (policy.network === 'bridge') holders.warm(slots + 1);
    } catch (error) {
      throw engineFailure(error, 'prepare the holders of networks');
    }
  }

  async createWorkspace(attempt: Attempt, slot: number): Promise<Workspace> {
    const { identity, policy, image, holders } = this.#open();
    for (const other of this.#workspaces) {
      invariant(other.disposed || other.slot !== slot, `slot ${slot} already has a workspace`);
    }
    const volume = nameOf(identity, 'workspace', attempt);
    const engine = this.#engine;
    const holding = policy.network === 'bridge' ? holders.take() : Promise.resolve(undefined);
    const [held, made] = await Promise.allSettled([
      holding,
      engine.createVolume({ Name: volume, Labels: labelsOf(identity, 'workspace', attempt) }),
    ]);
    if (held.status === 'rejected' || made.status === 'rejected') {
      if (held.status === 'fulfilled' && held.value) holders.give(held.value, false);
      if (made.status === 'fulfilled') await engine.getVolume(volume).remove();
      const reason: unknown =
        held.status === 'rejected' ? held.reason : made.status === 'rejected' && made.reason;
      throw engineFailure(reason, 'make a workspace');
    }
    const workspace = new DockerWorkspace({
      engine,
      identity,
      image,
      attempt,
      slot,
      volume,
      holder: held.value,
      onDispose: (gone) => this.#forget(gone),
    });
    this.#workspaces.add(workspace);
    return workspace;
  }

  async start(
    workspace: Workspace,
    step: StepSpec,
    sink: OutputSink,
    signal: AbortSignal,
  ): Promise<RunningStep> {
    invariant(workspace instanceof DockerWorkspace, 'a workspace of another executor');
    const { policy } = this.#open();
    if (step.image === undefined) {
      throw new FarmError('image-unavailable', `step ${step.name} names no image`);
    }
    checkImage(policy, step.image);
    checkWorkdir(step.workdir);
    throwIfAborted(signal);
    let release: (() => void) | undefined;
    try {
      release = this.#images.hold(step.image);
      const say = speaker(sink);
      const image = await this.#images.ensure(step.image, say.line, signal);
      say.line(`image ${image.reference} ${image.digest}`);
      await say.said();
      throwIfAborted(signal);
      const running = await this.#run(workspace, { ...step, image: image.reference }, sink);
      workspace.add(running);
      if (signal.aborted || workspace.disposed) {
        await running.stop(0);
        await running.removed;
        throw new FarmError('cancelled', 'cancelled while the step started');
      }
      return running;
    } catch (error) {
      throw engineFailure(error, `start the step ${step.name}`);
    } finally {
      release?.();
    }
  }

  async sweep(keep: readonly Attempt[]): Promise<number> {
    const { identity, holders } = this.#open();
    const live = [...this.#workspaces].map(({ attempt }) => attempt);
    try {
      return await sweep(this.#engine, identity, {
        attempts: [...keep, ...live],
        owns: (name) => holders.owns(name),
      });
    } catch (error) {
      throw engineFailure(error, 'sweep');
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workspaces].map((workspace) => workspace.dispose()));
    await this.#opened?.holders.close();
  }

  #open(): Opened {
    invariant(this.#opened, 'the executor was not opened');
    return this.#opened;
  }

  #forget(workspace: DockerWorkspace): void {
    const { holders, policy } = this.#open();
    this.#workspaces.delete(workspace);
    if (workspace.holder) holders.give(workspace.holder, loosened(policy));
  }

  async #run(workspace: DockerWorkspace, step: StepSpec, sink: OutputSink): Promise<DockerStep> {
    const { identity, policy, holders } = this.#open();
    for (let tries = 1; ; tries++) {
      const options = stepOptions({
        identity,
        attempt: workspace.attempt,
        step,
        volume: workspace.volume,
        holder: workspace.holder?.container.id,
        policy,
        config: this.config,
        init: this.#init,
      });
      const memory = options.HostConfig?.Memory ?? 0;
      try {
        return await DockerStep.start({ engine: this.#engine, options, memory, sink });
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

function holderGone(error: unknown): boolean {
  return /cannot join network of a non running container|No such container: [0-9a-f]{12}/i.test(
    wordsOf(error),
  );
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new FarmError('cancelled', 'cancelled before the step started');
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
