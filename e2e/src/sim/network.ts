import type { DataFrame, MasterMessage, WorkerMessage } from '@impgem/protocol';
import type { Process, World } from './world.js';

/** What goes over a socket, in order. */
export type Frame =
  | { type: 'message'; message: WorkerMessage | MasterMessage }
  | { type: 'data'; frame: DataFrame }
  | { type: 'ping' }
  | { type: 'pong' }
  | { type: 'close'; code: number; reason: string }
  /** The peer's end is gone. */
  | { type: 'eof' };

export type Side = 'worker' | 'master';

/** One end of a connection, as its program sees it. */
export interface Endpoint {
  readonly process: Process;
  receive(frame: Extract<Frame, { type: 'message' | 'data' | 'ping' | 'pong' }>): void;
  /** Once. */
  closed(code: number, reason: string): void;
}

interface Direction {
  /** Nothing of later arrives earlier. */
  last: number;
  /** Under way; whenever one would arrive, the first does, however long each was held up. */
  readonly coming: Frame[];
  /** What is sent from here on vanishes. */
  hole: boolean;
  stalledUntil: number;
  /** The receiver does not read. */
  paused: boolean;
  readonly unread: Frame[];
}

/** A peer that does not answer our close is cut off. */
const CLOSE_MS = 2000;
const ABNORMAL = 1006;

const direction = (): Direction => ({
  last: 0,
  coming: [],
  hole: false,
  stalledUntil: 0,
  paused: false,
  unread: [],
});

/**
 * One WebSocket over one TCP connection: whole frames, in order, none twice; late, or lost with all that follows.
 * Either end may learn of its end much later than the other, or only by its own timers.
 */
export class Connection {
  readonly #ends: Record<Side, Endpoint | undefined> = { worker: undefined, master: undefined };
  readonly #over: Record<Side, boolean> = { worker: false, master: false };
  readonly #closing: Record<Side, boolean> = { worker: false, master: false };
  /** By who receives. */
  readonly #to: Record<Side, Direction> = { worker: direction(), master: direction() };
  readonly #latencyMs: number;
  #doubledUntil = 0;
  /** That were sent over it. */
  frames = 0;

  constructor(
    readonly world: World,
    readonly name: string,
  ) {
    this.#latencyMs = world.chance.between(0.2, 20);
  }

  attach(side: Side, end: Endpoint): void {
    this.#ends[side] = end;
    // A program that dies has its sockets closed by its kernel; a machine that dies says nothing.
    end.process.onDeath(() => {
      if (this.#over[side]) return;
      this.#over[side] = true;
      if (this.world.chance.odds(0.7)) this.#deliver(other(side), { type: 'eof' });
    });
  }

  isOver(side: Side): boolean {
    return this.#over[side];
  }

  get isDead(): boolean {
    return this.#over.worker && this.#over.master;
  }

  send(from: Side, frame: Frame): void {
    if (this.#over[from] || this.#closing[from]) return;
    this.frames += 1;
    this.#deliver(other(from), frame);
    if (this.world.now < this.#doubledUntil && mayDouble(frame)) this.#deliver(other(from), frame);
  }

  /** Politely: the end comes with the peer's answer, or soon. */
  close(side: Side, code: number, reason: string): void {
    if (this.#over[side] || this.#closing[side]) return;
    this.send(side, { type: 'close', code, reason });
    this.#closing[side] = true;
    this.#ends[side]?.process.after(CLOSE_MS, () => this.#finish(side, ABNORMAL, ''));
  }

  terminate(side: Side): void {
    if (this.#over[side]) return;
    this.#deliver(other(side), { type: 'eof' });
    this.#ends[side]?.process.after(0, () => this.#finish(side, ABNORMAL, ''));
  }

  /** The receiver reads no more, or again. */
  pause(side: Side, paused: boolean): void {
    const to = this.#to[side];
    to.paused = paused;
    this.#readOn(side);
  }

  /** What waits unread comes in its order, and before all that arrives later. */
  #readOn(side: Side): void {
    const to = this.#to[side];
    if (to.paused || to.unread.length === 0) return;
    this.#ends[side]?.process.after(0, () => {
      const frame = to.paused ? undefined : to.unread.shift();
      if (frame) this.#read(side, frame);
      this.#readOn(side);
    });
  }

  /** All that is under way, or will be sent, arrives this much later. */
  stall(ms: number): void {
    for (const side of SIDES) this.#to[side].stalledUntil = this.world.now + ms;
  }

  /**
   * The way between the ends is gone for good. Each end that is told learns it after what was under way; for one
   * that is not, the connection looks alive.
   */
  cut(told: readonly Side[], lateMs: number): void {
    const { chance } = this.world;
    for (const side of SIDES) {
      const to = this.#to[side];
      // What is under way gets lost, or arrives, maybe late.
      const fate = chance.int(0, 3);
      if (fate < 2) this.#lose(side);
      else if (fate === 2) to.stalledUntil = this.world.now + chance.between(0, lateMs);
      if (told.includes(side)) this.#deliver(side, { type: 'eof' });
      to.hole = true;
    }
  }

  /** For a while what may come twice does. */
  double(ms: number): void {
    this.#doubledUntil = this.world.now + ms;
  }

  #generation: Record<Side, number> = { worker: 0, master: 0 };

  #lose(side: Side): void {
    this.#generation[side] += 1;
    this.#to[side].coming.length = 0;
    this.#to[side].unread.length = 0;
  }

  #deliver(to: Side, frame: Frame): void {
    const way = this.#to[to];
    if (way.hole) return;
    const { world } = this;
    const late = world.now + world.chance.delay(this.#latencyMs, 1500);
    way.last = Math.max(way.last, late);
    way.coming.push(frame);
    this.#travel(to, this.#generation[to]);
  }

  #travel(to: Side, generation: number): void {
    const way = this.#to[to];
    this.world.at(way.last, () => {
      if (this.#generation[to] !== generation) return;
      if (way.stalledUntil > this.world.now) {
        way.last = Math.max(way.last, way.stalledUntil);
        return this.#travel(to, generation);
      }
      const frame = way.coming.shift();
      const end = this.#ends[to];
      // A dial under way has nobody at the end yet.
      if (end && frame) end.process.when(() => this.#arrive(to, frame));
    });
  }

  #arrive(side: Side, frame: Frame): void {
    const way = this.#to[side];
    if (way.paused || way.unread.length > 0) way.unread.push(frame);
    else this.#read(side, frame);
  }

  #read(side: Side, frame: Frame): void {
    const end = this.#ends[side];
    if (!end || this.#over[side]) return;
    this.world.note(() => `${end.process.name} gets ${told(frame)} (${this.name})`);
    switch (frame.type) {
      case 'eof':
        return this.#finish(side, ABNORMAL, '');
      case 'close': {
        const { code, reason } = frame;
        if (!this.#closing[side]) this.#deliver(other(side), { type: 'close', code, reason });
        return this.#finish(side, code, reason);
      }
      case 'ping':
        this.send(side, { type: 'pong' });
        return end.receive(frame);
      default:
        return end.receive(frame);
    }
  }

  #finish(side: Side, code: number, reason: string): void {
    if (this.#over[side]) return;
    this.#over[side] = true;
    this.#ends[side]?.closed(code, reason);
  }
}

/** No socket does that, but either end is to bear it: what follows a cut says much of it again. */
function mayDouble(frame: Frame): boolean {
  if (frame.type === 'data') return true;
  return frame.type === 'message' && !ONCE.has(frame.message.type);
}

const ONCE = new Set(['hello', 'welcome', 'credit']);
const SIDES: readonly Side[] = ['worker', 'master'];
const other = (side: Side): Side => (side === 'worker' ? 'master' : 'worker');

function told(frame: Frame): string {
  if (frame.type === 'data') {
    const { build, epoch, offset, payload } = frame.frame;
    return `log ${build}-${epoch} at ${offset}, ${payload.length} bytes`;
  }
  if (frame.type !== 'message') return frame.type;
  const { plan: _, ...rest } = frame.message as unknown as Record<string, unknown>;
  return JSON.stringify(rest);
}
