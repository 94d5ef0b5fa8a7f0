import { deferred, FarmError } from '@impgem/kit';
import type { Deferred } from '@impgem/kit';
import type Docker from 'dockerode';
import type { Duplex } from 'node:stream';
import { REPORT_BLOCKS } from './blocks.js';
import { Demultiplexer } from './demultiplexer.js';

/** What root in a step can write, since steps share these files with the holder. */
const FILES = { hosts: '/etc/hosts', resolv: '/etc/resolv.conf', hostname: '/etc/hostname' };
/** Ends a report; neither `stat` nor `base64` prints it. */
const END = '.\n';
/** A report is small, unless a step has written much. */
const MOST_BYTES = 1024 * 1024;
/** An engine at work on other things answers late; a holder that takes longer is not worth the wait. */
const ANSWER_WITHIN_MS = 30_000;

const each = (line: (name: string, file: string) => string): string =>
  Object.entries(FILES)
    .map(([name, file]) => line(name, file))
    .join('\n');

/**
 * The holder's first process. It keeps what the files said when the holder was new, where no step can reach it (they
 * share the network, not the processes); for each line that it gets it writes that back and reports permissions, owner
 * and content of each file, and the blocks of the network.
 */
export const HOLDER_COMMAND = [
  '/bin/sh',
  '-c',
  `${each((name, file) => `${name}=$(base64 -w 0 ${file})`)}
while read -r line; do
${each((name, file) => `echo "$${name}" | base64 -d >${file}; stat -c '%f %u %g' ${file}; base64 -w 0 ${file}; echo`)}
${REPORT_BLOCKS}
echo .
done`,
];

/**
 * Talks with a holder's first process, which costs a line each way; an exec would cost the engine half the start of a
 * container.
 */
export class HolderShell {
  readonly #demultiplexer = new Demultiplexer();
  #answer = '';
  #asked: Deferred<string> | undefined;
  #closed = false;

  /** Call it before the container starts, so that its end is never missed. */
  static async open(container: Docker.Container): Promise<HolderShell> {
    const options = { stream: true, stdin: true, stdout: true, hijack: true };
    return new HolderShell((await container.attach(options)) as unknown as Duplex);
  }

  private constructor(private readonly stream: Duplex) {
    stream.on('data', (chunk: Buffer) => this.#hear(chunk));
    stream.on('error', () => this.close());
    stream.on('close', () => this.close());
    stream.on('end', () => this.close());
  }

  /** The container runs no more, or its engine does not. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Has the files written back, and resolves with what they say then. Rejects when the holder cannot tell. */
  async reset(): Promise<string> {
    if (this.#closed) throw silent();
    const asked = deferred<string>();
    this.#asked = asked;
    const late = setTimeout(() => this.close(), ANSWER_WITHIN_MS);
    this.stream.write('reset\n');
    return asked.promise.finally(() => clearTimeout(late));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#asked?.reject(silent());
    this.stream.destroy();
  }

  #hear(chunk: Buffer): void {
    try {
      for (const { bytes } of this.#demultiplexer.push(chunk)) this.#answer += bytes.toString();
    } catch {
      return this.close();
    }
    if (this.#answer.length > MOST_BYTES) return this.close();
    if (!this.#answer.endsWith(`\n${END}`)) return;
    this.#asked?.resolve(this.#answer.slice(0, -END.length));
    this.#asked = undefined;
    this.#answer = '';
  }
}

function silent(): FarmError {
  return new FarmError('engine-error', 'a holder of a network answers no more');
}
