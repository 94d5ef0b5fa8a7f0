import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface PulledImage {
  /** With a tag or digest. */
  reference: string;
  /** The engine's id of what was pulled: somebody may give the name to something else. */
  id: string;
  /** Milliseconds of the epoch. */
  usedAt: number;
}

/**
 * Which images this worker pulled, and when a step last used them: what may be removed to make room. Images that
 * were there before are nobody's business, and stay. The file may be lost: then nothing of it is removed.
 */
export class PulledImages {
  readonly #images = new Map<string, PulledImage>();
  #loaded: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;

  /** In memory alone without a file. */
  constructor(private readonly file?: string) {}

  async pulled(reference: string, id: string): Promise<void> {
    await this.#load();
    this.#images.set(reference, { reference, id, usedAt: Date.now() });
    await this.#write();
  }

  /** A step begins to use it. What this worker did not pull is not kept in mind. */
  async used(reference: string): Promise<void> {
    await this.#load();
    const image = this.#images.get(reference);
    if (!image) return;
    this.#images.set(reference, { ...image, usedAt: Date.now() });
    await this.#write();
  }

  async forget(reference: string): Promise<void> {
    await this.#load();
    if (this.#images.delete(reference)) await this.#write();
  }

  /** The longest unused first. */
  async all(): Promise<PulledImage[]> {
    await this.#load();
    return [...this.#images.values()].sort((a, b) => a.usedAt - b.usedAt);
  }

  #load(): Promise<void> {
    return (this.#loaded ??= this.#read());
  }

  async #read(): Promise<void> {
    if (this.file === undefined) return;
    const text = await readFile(this.file, 'utf8').catch(() => '[]');
    for (const image of imagesIn(text)) this.#images.set(image.reference, image);
  }

  /** One write at a time; those who come while one runs share the next. */
  #write(): Promise<void> {
    if (this.#dirty) return this.#writing;
    this.#dirty = true;
    this.#writing = this.#writing.then(() => this.#save());
    return this.#writing;
  }

  async #save(): Promise<void> {
    this.#dirty = false;
    if (this.file === undefined) return;
    const half = `${this.file}.new`;
    try {
      await mkdir(dirname(this.file), { recursive: true });
      await writeFile(half, JSON.stringify([...this.#images.values()]));
      await rename(half, this.file);
    } catch {
      // No step shall fail by it, on a full disk above all; what is in memory counts until the next write.
    }
  }
}

function imagesIn(text: string): PulledImage[] {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(read)) return [];
  return read.filter(
    (one: Partial<PulledImage> | null): one is PulledImage =>
      typeof one?.reference === 'string' &&
      typeof one.id === 'string' &&
      typeof one.usedAt === 'number',
  );
}
