import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { withEnd } from './with-end.js';

/** A part of the bench in a process of its own, that says `{ told, … }`; it ends when `use` is through. */
export async function withChild<Tell extends { told: string }, T>(
  module: string,
  use: (child: Child<Tell>) => Promise<T>,
): Promise<T> {
  const child = new Child<Tell>(fork(fileURLToPath(new URL(`./${module}.js`, import.meta.url))));
  return withEnd(
    () => child.end(),
    () => use(child),
  );
}

export class Child<Tell extends { told: string }> {
  readonly #told: Tell[] = [];
  #wake = () => {};
  #ended: string | undefined;
  readonly #exit: Promise<void>;

  constructor(private readonly process: ChildProcess) {
    process.on('message', (message) => {
      this.#told.push(message as Tell);
      this.#wake();
    });
    this.#exit = new Promise((resolve) => {
      process.once('exit', (code, signal) => {
        this.#ended = `ended with ${code ?? signal}`;
        this.#wake();
        resolve();
      });
    });
  }

  say(message: object): void {
    this.process.send(message);
  }

  /** The next thing told of this kind; rejects when it fails or ends instead. */
  async hear<Kind extends Tell['told']>(kind: Kind): Promise<Extract<Tell, { told: Kind }>> {
    for (;;) {
      const failed = this.#told.find(({ told }) => told === 'failed');
      if (failed) throw new Error(`a part of the bench failed: ${JSON.stringify(failed)}`);
      const at = this.#told.findIndex(({ told }) => told === kind);
      if (at >= 0) return this.#told.splice(at, 1)[0] as Extract<Tell, { told: Kind }>;
      if (this.#ended !== undefined) throw new Error(`a part of the bench ${this.#ended}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async end(): Promise<void> {
    if (this.process.connected) this.process.disconnect();
    await this.#exit;
  }
}
