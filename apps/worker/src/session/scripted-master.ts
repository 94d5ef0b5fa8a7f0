import { deferred } from '@impgem/kit';
import type { BuildPlan } from '@impgem/pipeline';
import {
  decodeFrame,
  masterCodec,
  workerCodec,
  type BuildEvent,
  type Hello,
  type LogFrame,
  type MasterMessage,
  type WorkerMessage,
} from '@impgem/protocol';
import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { crc32, inflateRawSync } from 'node:zlib';
import { WebSocketServer, type WebSocket } from 'ws';

/** What the master of a test has of one build. */
export class Taken {
  seq = 0;
  readonly events: BuildEvent[] = [];
  /** By step and stream. */
  readonly output = new Map<string, Buffer[]>();
  /** Bytes of each step's log, all streams. */
  readonly lengths = new Map<number, number>();
  readonly files = new Map<number, { path: string; parts: Buffer[]; size: number }>();
  readonly stored: string[] = [];
  finished = false;
  cancel = false;
  constructor(
    readonly build: number,
    readonly epoch: number,
  ) {}

  text(step: number, stream: string): Buffer {
    return Buffer.concat(this.output.get(`${step} ${stream}`) ?? []);
  }

  log(frame: LogFrame): void {
    const bytes = inflateRawSync(frame.payload, { finishFlush: 2 });
    const offset = this.lengths.get(frame.step) ?? 0;
    if (frame.offset !== offset || bytes.length !== frame.length || crc32(bytes) !== frame.crc32)
      throw new Error(`chunk ${frame.seq} does not fit: ${frame.offset} instead of ${offset}`);
    this.lengths.set(frame.step, offset + frame.length);
    const key = `${frame.step} ${frame.stream}`;
    this.output.set(key, [...(this.output.get(key) ?? []), bytes]);
  }
}

/** A master for tests of the worker, on a real socket: hands out plans, takes journals in, can be cut at will. */
export class ScriptedMaster {
  readonly builds = new Map<string, Taken>();
  readonly hellos: Hello[] = [];
  readonly messages: WorkerMessage[] = [];
  readonly problems: string[] = [];
  /** Called with the number of each frame that comes in; `true` cuts the connection instead of taking it. */
  cutAt: (frame: number) => boolean = () => false;
  frames = 0;
  windowBytes = 64 * 1024;
  private readonly queue: BuildPlan[] = [];
  private server: WebSocketServer | undefined;
  private socket: WebSocket | undefined;
  private credit = 0;
  private next = 1;
  private changed = deferred();

  async listen(port = 0): Promise<number> {
    const server = (this.server = new WebSocketServer({ port, host: '127.0.0.1' }));
    server.on('connection', (socket) => this.connected(socket));
    await new Promise((resolve) => server.once('listening', resolve));
    return (server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const client of this.server?.clients ?? []) client.terminate();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  /** Queues a build; gives what comes of it. */
  order(plan: BuildPlan): Taken {
    const taken = new Taken(this.next, 1);
    this.builds.set(String(this.next), taken);
    this.next += 1;
    this.queue.push(plan);
    this.handOut();
    return taken;
  }

  send(message: MasterMessage): void {
    this.socket?.send(masterCodec.stringify(message));
  }

  /** For what no master would say. */
  sendText(text: string): void {
    this.socket?.send(text);
  }

  closeWith(code: number): void {
    this.socket?.close(code);
  }

  /** What was on its way is lost. */
  cut(): void {
    this.socket?.terminate();
    this.socket = undefined;
  }

  /** Settles when `what` holds; looks again after each frame. */
  async until(what: () => boolean): Promise<void> {
    for (;;) {
      if (this.problems.length > 0) throw new Error(this.problems.join('\n'));
      if (what()) return;
      await this.changed.promise;
    }
  }

  private connected(socket: WebSocket): void {
    this.socket = socket;
    this.credit = 0;
    socket.on('error', () => {});
    socket.on('close', () => this.tell());
    socket.on('message', (data: Buffer, binary: boolean) => {
      if (socket !== this.socket) return;
      this.frames += 1;
      if (this.cutAt(this.frames)) return this.cut();
      try {
        if (binary) this.data(data);
        else this.take(workerCodec.parse(String(data)));
      } catch (error) {
        this.problems.push(String(error));
      }
      this.tell();
    });
  }

  private tell(): void {
    this.changed.resolve();
    this.changed = deferred();
  }

  private take(message: WorkerMessage): void {
    this.messages.push(message);
    switch (message.type) {
      case 'hello':
        return this.welcome(message);
      case 'credit':
        this.credit += message.add;
        return this.handOut();
      case 'event': {
        const taken = this.builds.get(String(message.build));
        if (!taken || !this.inOrder(taken, message.seq)) return;
        taken.events.push(message.event);
        if (message.event.kind === 'build.finished') {
          taken.finished = true;
          this.send({ type: 'release', build: message.build, epoch: message.epoch });
        }
        return;
      }
      case 'artifact.offer': {
        const { build, epoch, artifact, path } = message;
        const files = this.builds.get(String(build))?.files;
        const file = files?.get(artifact) ?? { path, parts: [], size: 0 };
        files?.set(artifact, file);
        return this.send({ type: 'artifact.accept', build, epoch, artifact, offset: file.size });
      }
      case 'artifact.done': {
        const { build, epoch, artifact } = message;
        const taken = this.builds.get(String(build));
        const file = taken?.files.get(artifact);
        const bytes = Buffer.concat(file?.parts ?? []);
        if (createHash('sha256').update(bytes).digest('hex') !== message.sha256)
          this.problems.push('a wrong checksum');
        if (file) taken?.stored.push(file.path);
        return this.send({ type: 'artifact.stored', build, epoch, artifact });
      }
      default:
    }
  }

  private data(bytes: Buffer): void {
    const frame = decodeFrame(bytes);
    const taken = this.builds.get(String(frame.build));
    if (!taken) return;
    if (frame.kind === 'log') {
      if (this.inOrder(taken, frame.seq)) taken.log(frame);
      return;
    }
    const file = taken.files.get(frame.artifact);
    if (!file || frame.offset !== file.size) throw new Error('an artifact block out of order');
    file.parts.push(Buffer.from(frame.payload));
    file.size += frame.payload.length;
    const { build, epoch, artifact } = frame;
    this.send({ type: 'artifact.ack', build, epoch, artifact, offset: file.size });
  }

  /** Whether a record is the next one; acknowledges it then. */
  private inOrder(taken: Taken, seq: number): boolean {
    const { build, epoch } = taken;
    if (seq <= taken.seq) return false;
    if (seq > taken.seq + 1) {
      this.problems.push(`record ${seq} after ${taken.seq}`);
      return false;
    }
    taken.seq = seq;
    this.send({ type: 'ack', build, epoch, seq });
    return true;
  }

  private welcome(hello: Hello): void {
    this.hellos.push(hello);
    this.send({
      type: 'welcome',
      version: '0.0.0',
      worker: '00000000-0000-4000-8000-000000000001',
      name: 'tester',
      farm: '00000000-0000-4000-8000-000000000002',
      heartbeatMs: 1000,
      limits: {
        frameBytes: 1024 * 1024,
        windowBytes: this.windowBytes,
        artifactWindowBytes: 128 * 1024,
      },
      builds: hello.builds.map(({ build, epoch }) => {
        const taken = this.builds.get(String(build));
        const verdict = !taken ? 'stop' : taken.finished ? 'release' : 'continue';
        return { build, epoch, verdict, seq: taken?.seq ?? 0, cancel: taken?.cancel ?? false };
      }),
    });
    // What was handed out and never arrived goes out again, as an attempt of its own would.
    for (const taken of this.builds.values()) {
      const held = hello.builds.some(({ build }) => build === taken.build);
      if (!held && !taken.finished && this.plans.has(taken.build)) this.again(taken);
    }
  }

  private readonly plans = new Map<number, BuildPlan>();

  private again(taken: Taken): void {
    if (taken.seq > 0) return;
    const plan = this.plans.get(taken.build);
    if (plan) this.queue.unshift(plan);
    this.plans.delete(taken.build);
  }

  private handOut(): void {
    while (this.credit > 0 && this.queue.length > 0 && this.socket?.readyState === 1) {
      const plan = this.queue.shift();
      if (!plan) return;
      const waiting = [...this.builds.values()].find(
        (taken) => !this.plans.has(taken.build) && taken.seq === 0,
      );
      if (!waiting) return;
      this.credit -= 1;
      this.plans.set(waiting.build, plan);
      this.send({ type: 'assign', build: waiting.build, epoch: waiting.epoch, plan });
    }
  }
}
