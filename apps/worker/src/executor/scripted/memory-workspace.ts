import { FarmError, quotedPath } from '@impgem/kit';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import type { Attempt, Link, ReadFile, Workspace, WorkspaceFile } from '../executor.js';
import { readOneByOne } from '../read-many.js';

type Node = { file: WorkspaceFile; bytes: Buffer };

/** A workspace in this process's memory: for tests, so small. Directories exist by the files in them. */
export class MemoryWorkspace implements Workspace {
  readonly #nodes = new Map<string, Node>();
  #disposed = false;

  constructor(
    readonly attempt: Attempt,
    readonly slot: number,
    private readonly onDispose: (workspace: MemoryWorkspace) => Promise<void>,
  ) {}

  async unpack(source: Readable, outward: readonly Link[] = []): Promise<void> {
    const extract = tar.extract();
    const done = pipeline(source, extract);
    // Reported through the loop below; without a handler of its own it would count as unhandled meanwhile.
    done.catch(() => {});
    for await (const entry of extract) {
      const { name, type, mode = 0o644, linkname } = entry.header;
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      const path = posix.normalize(name).replace(/\/+$/, '');
      if (path === '.' || path === '') continue;
      if (type === 'symlink') this.link(path, linkname ?? '');
      else if (type === 'directory') this.#put(path, 'directory', mode, Buffer.alloc(0));
      else if (type === 'file') this.write(path, Buffer.concat(chunks), mode);
    }
    await done;
    for (const { path, target } of outward) this.link(path, target);
  }

  write(path: string, bytes: Uint8Array, mode = 0o644): void {
    this.#put(path, 'file', mode, Buffer.from(bytes));
  }

  link(path: string, target: string): void {
    this.#put(path, 'link', 0o777, Buffer.from(target));
  }

  #put(path: string, type: WorkspaceFile['type'], mode: number, bytes: Buffer): void {
    this.#nodes.set(path, { file: { path, type, size: bytes.length, mode }, bytes });
  }

  async *files(): AsyncIterable<WorkspaceFile> {
    for (const node of this.#nodes.values()) yield node.file;
  }

  async read(path: string): Promise<Readable> {
    const node = this.#nodes.get(path);
    if (node?.file.type !== 'file') {
      throw new FarmError('artifact-refused', `${quotedPath(path)}: is no regular file`);
    }
    return Readable.from([node.bytes]);
  }

  readMany(files: readonly WorkspaceFile[]): AsyncIterable<ReadFile> {
    return readOneByOne(files, (path) => this.read(path));
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    await this.onDispose(this);
    this.#nodes.clear();
  }
}
