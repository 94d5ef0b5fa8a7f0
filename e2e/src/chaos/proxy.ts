/**
 * A TCP proxy between workers and masters that does to connections what networks do: cuts them, stalls them in one
 * direction or both, slows them down, refuses new ones, and keeps the master's end of a connection open whose
 * worker's end is gone, to say later what was under way on it.
 */
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** From the worker to the master, and back. */
export type Direction = 'up' | 'down';

interface Flow {
  from: Socket;
  to: Socket;
  /** While slow: no sooner than this is more read, by performance.now(). */
  readyAt: number;
  timer?: NodeJS.Timeout;
}

interface Link {
  near: Socket;
  far: Socket;
  flows: Record<Direction, Flow>;
  /** The worker's end is gone, the master's is kept; what the worker had sent last is here. */
  orphan?: Buffer[];
}

export class FaultProxy {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  readonly #stalled = new Set<Direction>();
  #refusing = false;
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  #next = 0;
  /** Ports of masters that new connections are not led to, as a balancer does that looks after their health. */
  readonly avoided = new Set<number>();
  /** The port that the last connection was led to. */
  lastPort = 0;

  private constructor(private readonly ports: () => readonly number[]) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#accept(near));
  }

  /** Listens on a free port; `ports` are those of the masters here, each taken in turn. */
  static async listen(host: string, ports: () => readonly number[]): Promise<FaultProxy> {
    const proxy = new FaultProxy(ports);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, host, resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that are open now, both ends. */
  get connections(): number {
    return [...this.#links].filter(({ orphan }) => !orphan).length;
  }

  /** Resets every connection at both ends, and new ones until `heal`. */
  cut(): void {
    this.#refusing = true;
    for (const link of this.#links) reset(link);
  }

  /** Nothing gets through in these directions, and nobody is told. */
  stall(directions: readonly Direction[]): void {
    for (const direction of directions) this.#stalled.add(direction);
    this.#apply();
  }

  slow(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /**
   * For `heldMs`, what the worker sends is taken and kept back. Then its end is reset, and it dials anew; the master's
   * end stays open until `heal`, and nothing is said on it until `sayLate`.
   */
  async orphan(heldMs: number): Promise<void> {
    const links = [...this.#links].filter(({ orphan }) => !orphan);
    for (const link of links) link.orphan = [];
    await new Promise((resolve) => setTimeout(resolve, heldMs));
    for (const { near } of links) near.resetAndDestroy();
  }

  /** The orphaned connections say what was kept back: everything a second time, if the worker is back already. */
  sayLate(): number {
    let bytes = 0;
    for (const { far, orphan } of this.#links) {
      for (const piece of orphan?.splice(0) ?? []) {
        bytes += piece.length;
        if (far.writable) far.write(piece);
      }
    }
    return bytes;
  }

  /** Ends every fault. Connections that were cut stay so. */
  heal(): void {
    this.#refusing = false;
    this.#stalled.clear();
    this.#bytesPerSecond = Number.POSITIVE_INFINITY;
    for (const link of this.#links) if (link.orphan) reset(link);
    this.#apply();
  }

  async close(): Promise<void> {
    for (const link of this.#links) reset(link);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(near: Socket): void {
    near.on('error', () => undefined);
    const ports = this.ports().filter((port) => !this.avoided.has(port));
    if (this.#refusing || ports.length === 0) return void near.resetAndDestroy();
    this.#dial(near, ports, this.#next++, ports.length);
  }

  /** A master that does not listen is passed over. */
  #dial(near: Socket, ports: readonly number[], at: number, left: number): void {
    if (left === 0) return void near.resetAndDestroy();
    const port = ports[at % ports.length] as number;
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const refused = (): void => this.#dial(near, ports, at + 1, left - 1);
    far.once('error', refused);
    far.once('connect', () => {
      far.off('error', refused);
      if (near.destroyed || this.#refusing) {
        far.destroy();
        return void near.resetAndDestroy();
      }
      this.#join(near, far);
    });
  }

  #join(near: Socket, far: Socket): void {
    const link: Link = {
      near,
      far,
      flows: {
        up: { from: near, to: far, readyAt: 0 },
        down: { from: far, to: near, readyAt: 0 },
      },
    };
    this.#links.add(link);
    this.lastPort = far.remotePort ?? 0;
    for (const direction of ['up', 'down'] as const) this.#carry(link, direction);
    far.on('error', () => undefined);
    far.once('close', () => {
      near.destroy();
      this.#links.delete(link);
    });
    near.once('close', () => {
      if (!link.orphan) far.destroy();
    });
    this.#apply();
  }

  #carry(link: Link, direction: Direction): void {
    const flow = link.flows[direction];
    const { from, to } = flow;
    from.on('data', (bytes: Buffer) => {
      if (link.orphan) {
        if (direction === 'up') link.orphan.push(bytes);
        return;
      }
      if (!to.write(bytes)) to.once('drain', () => this.#go(flow, direction));
      flow.readyAt = performance.now() + (bytes.length / this.#bytesPerSecond) * 1000;
      this.#go(flow, direction);
    });
    from.on('end', () => {
      if (!link.orphan) to.end();
    });
  }

  #apply(): void {
    for (const { flows } of this.#links)
      for (const direction of ['up', 'down'] as const) this.#go(flows[direction], direction);
  }

  /** Reads on, unless something holds it up. */
  #go(flow: Flow, direction: Direction): void {
    const { from, to, readyAt } = flow;
    clearTimeout(flow.timer);
    const brakedMs = Number.isFinite(this.#bytesPerSecond) ? readyAt - performance.now() : 0;
    if (brakedMs > 0) flow.timer = setTimeout(() => this.#go(flow, direction), brakedMs).unref();
    if (this.#stalled.has(direction) || brakedMs > 0 || to.writableNeedDrain) from.pause();
    else from.resume();
  }
}

function reset({ near, far }: Link): void {
  near.resetAndDestroy();
  far.resetAndDestroy();
}
