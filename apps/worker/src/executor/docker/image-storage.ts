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

/** Where the engine keeps images, and what of them the farm may take away again. */
export class ImageStorage implements Storage {
  #root: string | undefined;

  constructor(private readonly order: ImageStorageOrder) {}

  async root(): Promise<string | undefined> {
    const { engine, host } = this.order;
    if (!isLocal(host)) return undefined;
    try {
      this.#root ??= ((await engine.info()) as { DockerRootDir?: string }).DockerRootDir;
      // In a container the path is the host's, and is not there.
      return this.#root && (await stat(this.#root)).isDirectory() ? this.#root : undefined;
    } catch {
      // An engine that does not answer is found out by others.
      return undefined;
    }
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
