/**
 * A worker that wants to end the master, fill it, or take it from the others: everything that its credential lets it say,
 * wrong in every field, too much of it, and never in good order. Always the same for a seed, but for the network.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { constants, crc32, deflateRawSync } from 'node:zlib';
import { encodeFrame, subprotocol, type MasterMessage } from '@impgem/protocol';
import { HostileTraffic, type HeldRef, type HostileFrame } from '@impgem/testkit';
import { WebSocket, type RawData } from 'ws';

export interface WorkerAttack {
  /** The master's, `http://host:port`. */
  url: string;
  /** `igw_…` */
  credential: string;
  seconds: number;
  seed: number;
  /** What it says of itself besides: builds that ask for these labels come to it. */
  labels?: readonly string[];
}

/** What it did, and what came of it. */
export interface WorkerAttackReport {
  connections: number;
  /** Upgrades that were refused or failed. */
  refused: number;
  frames: number;
  bytes: number;
  builds: number;
  /** By close code, 1006 for a cut. */
  closes: Record<string, number>;
}

/** Bytes that may wait in a socket, so that the attack itself stays small. */
const WAITING_BYTES = 4 * 1024 * 1024;
/** Between two connections, so that the machine is not busy with handshakes alone. */
const REST_MS = 20;
/** How long a connection waits for its welcome and a build. */
const GIVEN_MS = 2000;
/** One connection goes on for so long at the most. */
const TURN_MS = 5000;

/** Connections at once; the master takes some more of one worker. */
const SIDE_BY_SIDE = 3;

/** Resolves after `seconds`. Rejects only when the master cannot be reached any more at the end. */
export async function run(attack: WorkerAttack): Promise<WorkerAttackReport> {
  const report: WorkerAttackReport = {
    connections: 0,
    refused: 0,
    frames: 0,
    bytes: 0,
    builds: 0,
    closes: {},
  };
  const until = performance.now() + attack.seconds * 1000;
  const lane = async (n: number): Promise<void> => {
    for (let turn = 0; performance.now() < until; turn++) {
      const traffic = new HostileTraffic(attack.seed * 1_000_003 + n * 65_537 + turn);
      await new HostileConnection(attack, traffic, report).play(until);
      // The others come while the first is there.
      await sleep(n === 0 ? REST_MS : 25 * REST_MS);
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, (_, n) => lane(n)));
  const alive = await fetch(new URL('/health/live', attack.url));
  if (!alive.ok) throw new Error(`the master answers ${alive.status} after the attack`);
  return report;
}

class HostileConnection {
  readonly #held: HeldRef[] = [];
  #open = false;
  #welcome = false;

  constructor(
    private readonly attack: WorkerAttack,
    private readonly traffic: HostileTraffic,
    private readonly report: WorkerAttackReport,
  ) {}

  async play(until: number): Promise<void> {
    const socket = await this.#connect();
    if (!socket) return;
    const end = Math.min(until, performance.now() + TURN_MS);
    try {
      this.#greet(socket);
      await this.#given(socket, end);
      const way = this.traffic.pick(this.#ways());
      while (this.#open && performance.now() < end) {
        for (let n = 0; n < 32 && this.#open; n++) this.#send(socket, way());
        await this.#room(socket);
      }
    } finally {
      // Some leave without a word, some with one that means nothing.
      if (this.traffic.below(2) === 0) socket.terminate();
      else socket.close(1000, 'x'.repeat(100));
      await sleep(1);
      socket.terminate();
    }
  }

  async #connect(): Promise<WebSocket | undefined> {
    const { url, credential } = this.attack;
    const headers = { authorization: `Bearer ${credential}` };
    const address = `${url.replace(/^http/, 'ws')}/api/v1/worker`;
    const socket = new WebSocket(address, subprotocol(), { headers, perMessageDeflate: false });
    socket.on('error', () => undefined);
    socket.on('message', (data) => this.#hear(data));
    socket.on('close', (code) => {
      const was = this.#open;
      this.#open = false;
      if (was) this.report.closes[code] = (this.report.closes[code] ?? 0) + 1;
    });
    this.#open = await new Promise<boolean>((resolve) => {
      socket.once('open', () => resolve(true));
      socket.once('close', () => resolve(false));
      socket.once('unexpected-response', () => {
        resolve(false);
        socket.terminate();
      });
    });
    this.report[this.#open ? 'connections' : 'refused'] += 1;
    return this.#open ? socket : undefined;
  }

  #hear(data: RawData): void {
    try {
      const message = JSON.parse(String(data)) as MasterMessage;
      if (message.type === 'welcome') this.#welcome = true;
      if (message.type !== 'assign') return;
      this.report.builds += 1;
      this.#held.push({ build: message.build, epoch: message.epoch });
    } catch {
      // What the master says is not what is tried here.
    }
  }

  /** As a rule in good order, or nothing behind it would be read. */
  #greet(socket: WebSocket): void {
    const hello = {
      ...this.traffic.hello(),
      version: '0.0.0',
      process: randomUUID(),
      platform: { os: 'linux', arch: 'amd64', hostname: 'hostile', cpus: 1, memory: 1 },
      labels: this.attack.labels ?? [],
      slots: 4,
      builds: [],
    };
    const first =
      this.traffic.below(10) === 0 ? this.traffic.next([]).frame : JSON.stringify(hello);
    this.#send(socket, { what: 'hello', frame: first });
  }

  /** As a rule it asks for builds in good order, and waits for one a moment. */
  async #given(socket: WebSocket, end: number): Promise<void> {
    if (this.traffic.below(10) === 0) return;
    const most = Math.min(end, performance.now() + GIVEN_MS);
    while (this.#open && !this.#welcome && performance.now() < most) await sleep(1);
    const credit = { type: 'credit', add: 1 + this.traffic.below(4) };
    this.#send(socket, { what: 'credit', frame: JSON.stringify(credit) });
    while (this.#open && this.#held.length === 0 && performance.now() < most) await sleep(1);
  }

  /** What one connection does all the time. */
  #ways(): (() => HostileFrame)[] {
    const { traffic } = this;
    // One of them, from its beginning, or its records would not join.
    const ref = (): HeldRef => this.#held[0] ?? NOTHING;
    let seq = 0;
    let offset = 0;
    const next = (): number => (this.#held.length > 0 ? ++seq : 1);
    return [
      () => traffic.next(this.#held),
      () => traffic.next(this.#held),
      () => say({ type: 'heartbeat', running: 0, diskFree: 1, lowDisk: traffic.text() || 'x' }),
      () => say({ type: 'credit', add: 1 }),
      () => say({ type: 'refuse', ...ref(), reason: { code: 'draining', message: 'no' } }),
      () =>
        say({ type: 'event', ...ref(), seq: next(), atMs: 0, event: { kind: 'build.started' } }),
      () => {
        const event = { kind: 'property.set', name: `p${seq}`, value: 'x'.repeat(1000) };
        return say({ type: 'event', ...ref(), seq: next(), atMs: 0, event });
      },
      () => {
        const file = {
          artifact: traffic.below(65_536),
          path: `f${traffic.below(1e6)}`,
          mode: 0o644,
        };
        return say({ type: 'artifact.offer', ...ref(), ...file, size: 16 * 1024 ** 3 });
      },
      () => {
        // A log without end, in the smallest or the biggest chunks.
        const bytes = Buffer.alloc(traffic.below(2) === 0 ? 1 : 65_536, traffic.below(256));
        const frame = chunkOf(ref(), next(), offset, bytes);
        if (this.#held.length > 0) offset += bytes.length;
        return { what: 'log', frame };
      },
    ];
  }

  #send(socket: WebSocket, { frame }: HostileFrame): void {
    if (socket.readyState !== socket.OPEN) return;
    if (this.traffic.below(20) === 0) socket.ping(Buffer.alloc(this.traffic.below(126)));
    socket.send(frame);
    this.report.frames += 1;
    this.report.bytes += frame.length;
  }

  /** Waits until the socket has room, or is over. */
  async #room(socket: WebSocket): Promise<void> {
    do await sleep(1);
    while (
      this.#open &&
      socket.bufferedAmount > WAITING_BYTES &&
      socket.readyState === socket.OPEN
    );
  }
}

const say = (message: object): HostileFrame => ({
  what: 'flood',
  frame: JSON.stringify(message),
});
const NOTHING: HeldRef = { build: 1, epoch: 1 };
const FLUSHED = { level: constants.Z_BEST_SPEED, finishFlush: constants.Z_FULL_FLUSH };

function chunkOf(ref: HeldRef, seq: number, offset: number, bytes: Buffer): Uint8Array {
  return encodeFrame({
    kind: 'log',
    ...ref,
    seq,
    step: 0,
    stream: 'stdout',
    offset,
    length: bytes.length,
    crc32: crc32(bytes),
    atMs: 0,
    payload: deflateRawSync(bytes, FLUSHED),
  });
}
