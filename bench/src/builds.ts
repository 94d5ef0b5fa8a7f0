import { Agent, request } from 'node:http';
import type { BuildRequest, FarmEvent, LiveMessage } from '@impgem/client';
import { deferred, type Deferred } from '@impgem/kit';
import type { Farm } from '@impgem/e2e';
import { WebSocket } from 'ws';

/** A build that was asked for and has ended; times are of `performance.now()`, as seen here. */
export interface Ended {
  request: number;
  build: number;
  posted: number;
  ended: number;
}

/** When the news of a step came. */
export interface StepTimes {
  started: number;
  finished: number;
}

/** Builds of a farm, from the trigger (one POST each) to the news of their end on the live socket. */
export class Builds {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #ends = new Map<number, Deferred<{ build: number; at: number }>>();
  readonly #steps = new Map<string, Deferred<number>>();

  private constructor(
    private readonly farm: Farm,
    private readonly socket: WebSocket,
  ) {}

  static async open(farm: Farm): Promise<Builds> {
    const socket = new WebSocket(`${farm.url.replace('http', 'ws')}/api/v1/live`, {
      headers: { authorization: `Bearer ${farm.token}` },
    });
    const builds = new Builds(farm, socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.on('message', (bytes: Buffer) => {
        const message = JSON.parse(bytes.toString()) as LiveMessage;
        if (message.type === 'hello') socket.send('{"type":"subscribe","id":"1","topic":"events"}');
        else if (message.type === 'subscribed') resolve();
        else if (message.type === 'event') builds.#take(message.event);
      });
    });
    return builds;
  }

  /** Triggers one build; resolves when the news of its end has come. */
  async run(builder: string): Promise<Ended> {
    const posted = performance.now();
    const id = await this.post(builder);
    return this.end(id, posted);
  }

  /** Waits for the end of a request that was made elsewhere. */
  async end(request: number, posted = performance.now()): Promise<Ended> {
    const { build, at } = await of(this.#ends, request).promise;
    this.#ends.delete(request);
    return { request, build, posted, ended: at };
  }

  /** Runs `count` builds, `lanes` at once: each lane triggers the next when its last has ended. */
  async inFlight(builder: string, count: number, lanes: number): Promise<Ended[]> {
    const done: Ended[] = [];
    let left = count;
    const lane = async () => {
      while (left-- > 0) done.push(await this.run(builder));
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return done;
  }

  /** When the step begins. */
  async stepStarted(build: number, step: number): Promise<number> {
    return of(this.#steps, `${build} ${step} started`).promise;
  }

  async stepTimes(build: number, step: number): Promise<StepTimes> {
    const started = await this.stepStarted(build, step);
    const finished = await of(this.#steps, `${build} ${step} finished`).promise;
    return { started, finished };
  }

  /** One POST over a connection that is kept; resolves with the id of the request. */
  post(builder: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const post = request(`${this.farm.url}/api/v1/build-requests`, {
        method: 'POST',
        agent: this.#agent,
        headers: {
          authorization: `Bearer ${this.farm.token}`,
          'content-type': 'application/json',
        },
      });
      post.on('error', reject);
      post.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (piece: string) => (text += piece));
        answer.on('error', reject);
        answer.on('end', () => {
          if (answer.statusCode === 201) resolve((JSON.parse(text) as BuildRequest).id);
          else reject(new Error(`trigger: ${answer.statusCode} ${text}`));
        });
      });
      post.end(JSON.stringify({ builder }));
    });
  }

  close(): void {
    this.#agent.destroy();
    this.socket.terminate();
  }

  #take({ kind, request: id, build, data }: FarmEvent): void {
    const at = performance.now();
    if (kind === 'request.finished' && id !== undefined)
      of(this.#ends, id).resolve({ build: build ?? 0, at });
    else if (kind === 'step.started' || kind === 'step.finished')
      of(this.#steps, `${build} ${String(data.step)} ${kind.slice(5)}`).resolve(at);
  }
}

/** What is waited for, or has come already, under this name. */
function of<K, V>(map: Map<K, Deferred<V>>, key: K): Deferred<V> {
  const known = map.get(key);
  if (known) return known;
  const made = deferred<V>();
  map.set(key, made);
  return made;
}
