/**
 * A worker that runs nothing: it takes what it is assigned and says, when asked, that all of it has succeeded.
 * Its credit is in the hands of whoever measures.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  masterCodec,
  subprotocol,
  workerCodec,
  type Assign,
  type BuildEvent,
  type Hello,
  type WorkerMessage,
} from '@impgem/protocol';
import type { Farm } from '@impgem/e2e';
import type { WorkerCredential } from '@impgem/client';
import { WebSocket } from 'ws';

/** What such a worker says of itself. */
export const wireHello = (slots: number): Omit<Hello, 'type' | 'builds'> => ({
  version: '0.1.0',
  process: randomUUID(),
  platform: { os: 'linux', arch: 'amd64', hostname: 'bench', cpus: 1, memory: 1024 ** 3 },
  executor: 'scripted',
  labels: [],
  slots,
});

const SLOTS = 1024;

export class WireWorker {
  readonly #held: Assign[] = [];
  #assigned: (assign: Assign) => void = () => undefined;
  #released = new Set<number>();
  #onRelease = () => {};
  #heartbeat: NodeJS.Timeout | undefined;

  private constructor(private readonly socket: WebSocket) {}

  static async connect(farm: Farm, name: string): Promise<WireWorker> {
    const registration = await farm.registrationToken();
    const { token } = await farm.api<WorkerCredential>(
      'POST',
      '/workers/register',
      { name },
      registration,
    );
    const socket = new WebSocket(
      `${farm.url.replace('http', 'ws')}/api/v1/worker`,
      [subprotocol()],
      { headers: { authorization: `Bearer ${token}` }, perMessageDeflate: false },
    );
    const worker = new WireWorker(socket);
    const welcome = new Promise<number>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('close', (code, reason) => reject(new Error(`closed: ${code} ${reason}`)));
      socket.on('message', (data: Buffer) => {
        const message = masterCodec.parse(data.toString());
        if (message.type === 'welcome') resolve(message.heartbeatMs);
        else if (message.type === 'assign') {
          worker.#held.push(message);
          worker.#assigned(message);
        } else if (message.type === 'release') {
          worker.#released.add(message.build);
          worker.#onRelease();
        }
      });
    });
    welcome.catch(() => undefined);
    await once(socket, 'open');
    worker.#send({ type: 'hello', ...wireHello(SLOTS), builds: [] });
    const everyMs = await welcome;
    worker.#heartbeat = setInterval(() => {
      worker.#send({ type: 'heartbeat', running: worker.#held.length, diskFree: 1e9 });
    }, everyMs);
    return worker;
  }

  /** Grants one credit; resolves with the milliseconds until a build is assigned. */
  async claim(): Promise<number> {
    const start = performance.now();
    await new Promise<Assign>((resolve) => {
      this.#assigned = resolve;
      this.#send({ type: 'credit', add: 1 });
    });
    return performance.now() - start;
  }

  /** Says that all builds it holds have succeeded; resolves when the master has let go of them. */
  async finishAll(): Promise<void> {
    const held = this.#held.splice(0);
    for (const { build, epoch, plan } of held) {
      let seq = 0;
      for (const event of eventsOf(plan.steps.length))
        this.#send({ type: 'event', build, epoch, seq: ++seq, atMs: 0, event });
    }
    while (!held.every(({ build }) => this.#released.has(build)))
      await new Promise<void>((resolve) => (this.#onRelease = resolve));
    this.#released.clear();
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.socket.terminate();
  }

  #send(message: WorkerMessage): void {
    this.socket.send(workerCodec.stringify(message));
  }
}

function eventsOf(steps: number): BuildEvent[] {
  const log = { bytes: 0, sha256: {} };
  return [
    { kind: 'build.started' },
    ...Array.from({ length: steps }, (_, step): BuildEvent[] => [
      { kind: 'step.started', step },
      { kind: 'step.finished', step, result: 'success', exitCode: 0, log },
    ]).flat(),
    { kind: 'build.finished', result: 'success' },
  ];
}
