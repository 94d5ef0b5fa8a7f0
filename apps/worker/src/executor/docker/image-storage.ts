import type Docker from 'dockerode';
import { stat } from 'node:fs/promises';
import type { Storage } from '../executor.js';
import { isLocal, statusOf } from './engine.js';
import type { PulledImages } from './pulled-images.js';

export interface ImageStorageOrder {
  engine: Docker;
  /** As configured; absent: the usual socket. */
  host: string | undefined;
  pulled: PulledImages;
  /** Whether an image must stay, whatever the need. */
  isPinned: (reference: string) => boolean;
  /** Whether a step is about to use it. */
  isHeld: (reference: string) => boolean;
}

/** The folder of the engine's data, where it can be seen from here. */
export async function dataRoot(engine: Docker, host?: string): Promise<string | undefined> {
  if (!isLocal(host)) return undefined;
  try {
    const { DockerRootDir: root } = (await engine.info()) as { DockerRootDir?: string };
    // In a container the path is the host's, and is not there.
    return root && (await stat(root)).isDirectory() ? root : undefined;
  } catch {
    // An engine that does not answer is found out by others.
    return undefined;
  }
}

/** Where the engine keeps images, and what of them the farm may take away again. */
export class ImageStorage implements Storage {
  #root: string | undefined;

  constructor(private readonly order: ImageStorageOrder) {}

  async root(): Promise<string | undefined> {
    return (this.#root ??= await dataRoot(this.order.engine, this.order.host));
  }

  async evict(enough: () => Promise<boolean>): Promise<string[]> {
    const gone: string[] = [];
    for (const { reference, id } of await this.order.pulled.all()) {
      if (await enough()) break;
      if (this.order.isPinned(reference) || this.order.isHeld(reference)) continue;
      if (await this.#remove(reference, id)) gone.push(reference);
    }
    return gone;
  }

  /** Never by force: the engine itself refuses what a container uses, whoever's it is. */
  async #remove(reference: string, id: string): Promise<boolean> {
    const image = this.order.engine.getImage(reference);
    try {
      const isOurs = (await image.inspect()).Id === id;
      if (isOurs) await image.remove();
      await this.order.pulled.forget(reference);
      return isOurs;
    } catch (error) {
      if (statusOf(error) === 404) await this.order.pulled.forget(reference);
      else if (statusOf(error) !== 409) throw error;
      return false;
    }
  }
}
