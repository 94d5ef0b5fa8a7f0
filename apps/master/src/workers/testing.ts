/** For tests alone: a worker's socket, driven by hand. */
import { once } from 'node:events';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { randomUUID } from 'node:crypto';
import {
  encodeFrame,
  masterCodec,
  subprotocol,
  type MasterMessage,
  type LogFrame,
} from '@impgem/protocol';
import { WebSocket } from 'ws';
import { until } from '../scheduling/testing.js';

export interface Closed {
  code: number;
  reason: string;
}

type Of<Type extends MasterMessage['type']> = Extract<MasterMessage, { type: Type }>;

export class FakeWorker {
  readonly messages: MasterMessage[] = [];
  closed: Closed | undefined;

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data) => this.messages.push(masterCodec.parse(String(data))));
    socket.on('close', (code, reason) => (this.closed = { code, reason: String(reason) }));
    socket.on('error', () => undefined);
  }

  /** Rejects with the HTTP status when the upgrade is refused. */
  static async connect(
    url: string,
    token: string | undefined,
    protocol: string | string[] = subprotocol(),
  ): Promise<FakeWorker> {
    const address = `${url.replace(/^http/, 'ws')}/api/v1/worker`;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const socket = new WebSocket(address, protocol, { headers, perMessageDeflate: false });
    const worker = new FakeWorker(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('unexpected-response', (_, response) => {
        reject(new Error(`HTTP ${response.statusCode}`));
        socket.terminate();
      });
      socket.once('error', reject);
    });
    return worker;
  }

  send(message: object | string | Uint8Array): void {
    const plain = typeof message === 'string' || message instanceof Uint8Array;
    this.socket.send(plain ? message : JSON.stringify(message));
  }

  /** Says hello and waits for the welcome. */
  async hello(changes: object = {}): Promise<Of<'welcome'>> {
    this.send({
      type: 'hello',
      version: '0.1.0',
      process: randomUUID(),
      platform: { os: 'linux', arch: 'amd64', hostname: 'test', cpus: 2, memory: 1 },
      executor: 'scripted',
      labels: ['os=linux'],
      slots: 4,
      builds: [],
      ...changes,
    });
    return this.next('welcome');
  }

  /** The next message of a type, taken out. */
  async next<Type extends MasterMessage['type']>(type: Type): Promise<Of<Type>> {
    const index = await until(() => {
      const at = this.messages.findIndex((message) => message.type === type);
      if (at < 0 && this.closed)
        throw new Error(`closed ${this.closed.code} ${this.closed.reason} before ${type}`);
      return at < 0 ? false : [at];
    });
    return this.messages.splice(index[0] ?? 0, 1)[0] as Of<Type>;
  }

  event(ref: { build: number; epoch: number }, seq: number, event: object): void {
    const { build, epoch } = ref;
    this.send({ type: 'event', build, epoch, seq, atMs: seq, event });
  }

  chunk(
    ref: { build: number; epoch: number },
    seq: number,
    text: string | Buffer,
    offset = 0,
  ): void {
    const bytes = Buffer.from(text as string);
    const frame: LogFrame = {
      kind: 'log',
      build: ref.build,
      epoch: ref.epoch,
      seq,
      step: 0,
      stream: 'stdout',
      offset,
      length: bytes.length,
      crc32: crc32(bytes),
      atMs: seq,
      payload: deflateRawSync(bytes, { finishFlush: constants.Z_FULL_FLUSH }),
    };
    this.send(encodeFrame(frame));
  }

  async ended(): Promise<Closed> {
    return until(() => this.closed);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.socket.close(1000);
    await once(this.socket, 'close');
  }
}
