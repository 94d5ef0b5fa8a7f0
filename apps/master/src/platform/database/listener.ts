import { setTimeout as sleep } from 'node:timers/promises';
import { fullJitter } from '@impgem/kit';
import { Client, escapeIdentifier, type ClientConfig } from 'pg';

/** How often the connection is tried when nothing comes: a dead peer is found within two of these. */
const PROBE_MS = 10_000;
const BACKOFF = { baseMs: 100, capMs: 2000 };

/** Told of a notification with what it carries; after a lost connection is back, with ''. Must not throw. */
export type Hear = (payload: string) => void;

/** LISTEN on one connection of its own, opened with the first channel and opened again whenever it breaks. */
export class Listener {
  readonly #handlers = new Map<string, Set<Hear>>();
  #client: Client | undefined;
  #first: Promise<void> | undefined;
  #loop: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(
    private readonly settings: ClientConfig,
    private readonly saw: (error?: unknown) => void,
  ) {}

  async listen(channel: string, handler: Hear): Promise<() => void> {
    const handlers = this.#handlers.get(channel) ?? new Set();
    handlers.add(handler);
    this.#handlers.set(channel, handlers);
    // The first connection listens to whatever is asked for until it stands; what comes later asks for itself,
    // and twice does no harm.
    this.#first ??= this.#start();
    await this.#first;
    await this.#client?.query(`LISTEN ${escapeIdentifier(channel)}`).catch(this.saw);
    return () => {
      handlers.delete(handler);
    };
  }

  async #start(): Promise<void> {
    const client = await this.#connect().catch(this.saw);
    this.#loop = this.#keepConnected(client ?? undefined);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#first;
    await this.#client?.end().catch(() => undefined);
    await this.#loop;
  }

  async #connect(): Promise<Client> {
    const client = new Client({ ...this.settings, query_timeout: PROBE_MS });
    client.on('error', this.saw);
    client.on('notification', ({ channel, payload }) => this.#call(channel, payload));
    try {
      await client.connect();
      this.#client = client;
      for (const channel of this.#handlers.keys())
        await client.query(`LISTEN ${escapeIdentifier(channel)}`);
      this.saw();
      return client;
    } catch (error) {
      this.#client = undefined;
      await client.end().catch(() => undefined);
      throw error;
    }
  }

  async #keepConnected(first: Client | undefined): Promise<void> {
    const { signal } = this.#stop;
    let client = first;
    for (let attempt = 0; !signal.aborted;) {
      if (client) {
        attempt = 0;
        await this.#untilBroken(client);
        this.#client = undefined;
        client = undefined;
        continue;
      }
      await sleep(fullJitter(attempt++, BACKOFF), undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      client = await this.#connect().then(
        (connected) => connected,
        (error: unknown) => {
          this.saw(error);
          return undefined;
        },
      );
      if (client) for (const channel of this.#handlers.keys()) this.#call(channel);
    }
  }

  /** Returns when the connection has ended. */
  async #untilBroken(client: Client): Promise<void> {
    const done = new AbortController();
    const end = () => done.abort();
    client.once('end', end);
    this.#stop.signal.addEventListener('abort', end, { once: true });
    while (!done.signal.aborted) {
      await sleep(PROBE_MS, undefined, { signal: done.signal, ref: false }).catch(() => undefined);
      if (done.signal.aborted) break;
      await client.query('SELECT 1').catch(async (error: unknown) => {
        this.saw(error);
        end();
      });
    }
    this.#stop.signal.removeEventListener('abort', end);
    await client.end().catch(() => undefined);
  }

  #call(channel: string, payload = ''): void {
    for (const handler of this.#handlers.get(channel) ?? []) handler(payload);
  }
}
