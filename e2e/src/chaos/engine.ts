import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, testEngineHost } from '@impgem/testkit';
import { NetworkSpace } from '../network-space.js';
import { engineTools, imageTools } from './tools.js';

const { startEngine, findEngine, engineVersion, ask, askJson, hasImage } = engineTools;
const { ensureImage, QUICK_START_IMAGE } = imageTools;

const CONTAINERD_PID = 'docker/exec/containerd/containerd.pid';

/** The image of the steps. */
export const IMAGE = QUICK_START_IMAGE;

/** The engine of a run: one of its own when we are root, which alone may be killed; else the machine's. */
export class Engine {
  private constructor(
    readonly host: string,
    private readonly dir: string,
    private end: () => Promise<void>,
    private readonly space: NetworkSpace | undefined,
  ) {}

  static async start(dir: string): Promise<Engine> {
    // Engines in one network clear each other's tables of packets.
    const space = process.getuid?.() === 0 ? await NetworkSpace.make('engine') : undefined;
    try {
      const { host, stop } = await (space ? startEngine(dir, space.inside) : findEngine(dir));
      const engine = new Engine(host, dir, stop, space);
      await engine.#fetchImage().catch(async (error: unknown) => {
        await stop();
        throw error;
      });
      return engine;
    } catch (error) {
      await space?.remove();
      throw error;
    }
  }

  get isOwn(): boolean {
    return this.space !== undefined;
  }

  /** The commands that the steps of the build run now. */
  async commands(build: number): Promise<string[]> {
    const label = [`impgem.build=${build}`, 'impgem.role=step'];
    const filters = encodeURIComponent(JSON.stringify({ label, status: ['running'] }));
    const path = `/containers/json?filters=${filters}`;
    const found = await askJson<{ Command: string }[]>(this.host, 'GET', path);
    return found.map(({ Command }) => Command);
  }

  /** `kill -9` of dockerd, which takes its containerd along. The containers go on. */
  async kill(): Promise<void> {
    const [first, second] = this.processes();
    process.kill(first, 'SIGKILL');
    // a new dockerd would take a dying containerd, or a zombie, for one that it can use
    await eventually(() => !alive(first) && !alive(second), { what: 'the end of the engine' });
    rmSync(join(this.dir, CONTAINERD_PID), { force: true });
  }

  /** dockerd and its containerd, as they run now. Only of an engine of our own. */
  processes(): [number, number] {
    return ['docker/docker.pid', CONTAINERD_PID].map((file) =>
      Number(readFileSync(join(this.dir, file), 'utf8')),
    ) as [number, number];
  }

  /** Starts it again, if it does not run. */
  async revive(): Promise<void> {
    if (await engineVersion(this.host)) return;
    const { stop } = await startEngine(this.dir, this.space?.inside);
    this.end = stop;
  }

  async stop(): Promise<void> {
    await this.end();
    await this.space?.remove();
    // its last child may still be on the way
    await sleep(100);
  }

  /** From the machine's engine, when it has it: that takes no registry. */
  async #fetchImage(): Promise<void> {
    if (await hasImage(this.host, IMAGE)) return;
    if (await hasImage(testEngineHost, IMAGE).catch(() => false)) {
      const image = await ask(testEngineHost, 'GET', `/images/${encodeURIComponent(IMAGE)}/get`);
      const loaded = await ask(this.host, 'POST', '/images/load?quiet=1', { body: image });
      for await (const _ of loaded);
    }
    await ensureImage(this.host, IMAGE);
  }
}

function alive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
