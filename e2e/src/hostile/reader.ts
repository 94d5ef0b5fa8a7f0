/**
 * A caller with a `read` token, and strangers without one, who ask for everything there is, more than ten times as much
 * of it as the limits allow at once, and read slowly or not at all what comes.
 */
import { request, type ClientRequest } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { Chance } from '../sim/chance.js';

export interface ReaderAttack {
  url: string;
  /** With scope `read`. */
  token: string;
  /** A build that has a log and artifacts. */
  build: number;
  seconds: number;
  seed: number;
}

/** How often each thing was done, and how often each status came. */
export type ReaderReport = Record<string, number>;

/** Of live sockets, of downloads, of searches and of sign-ins that are tried at once. */
const AT_ONCE = { sockets: 2_000, downloads: 400, searches: 200, requests: 100, strangers: 500 };

const VALUES = ['0', '1', '-1', '200', '201', '9007199254740993', '1e9', '', '%00', '%F0%9F', 'a'];
const TEXTS = ['', '0', 'x'.repeat(60_000), '%ED%A0%80', '..%2F..', '%u0000', '(a+)+$', '\u202E'];

class Reader {
  readonly report: ReaderReport = {};
  readonly #chance: Chance;
  readonly #end: number;

  constructor(readonly options: ReaderAttack) {
    this.#chance = new Chance(options.seed);
    this.#end = Date.now() + options.seconds * 1000;
  }

  get #goesOn(): boolean {
    return Date.now() < this.#end;
  }

  async run(): Promise<ReaderReport> {
    const operations = await this.#operations();
    const loops = Promise.all([
      ...this.#several(AT_ONCE.requests, () => this.#askAnything(operations)),
      ...this.#several(AT_ONCE.searches, () => this.#search()),
      ...this.#several(AT_ONCE.downloads, () => this.#download()),
      ...this.#several(AT_ONCE.sockets, () => this.#watch()),
      ...this.#several(AT_ONCE.strangers, () => this.#sendHalf()),
      ...this.#several(4, () => this.#signIn()),
      ...this.#several(2, () => this.#lint()),
    ]);
    // What is under way then is cut.
    await Promise.race([loops, sleep(this.options.seconds * 1000)]);
    return this.report;
  }

  /** So many loops, each of which rests a little after each turn, that a refusal does not make it spin. */
  #several(count: number, turn: () => Promise<void>): Promise<void>[] {
    return Array.from({ length: count }, async () => {
      while (this.#goesOn) {
        await turn().catch((error: unknown) => this.#count(`error ${(error as Error).name}`));
        await sleep(this.#chance.between(500, 5_000));
      }
    });
  }

  #count(what: string): void {
    this.report[what] = (this.report[what] ?? 0) + 1;
  }

  async #operations(): Promise<string[]> {
    const answer = await fetch(`${this.options.url}/api/docs-json`);
    const { paths } = (await answer.json()) as { paths: Record<string, object> };
    return Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
  }

  async #askAnything(operations: string[]): Promise<void> {
    const [method = '', path = ''] = this.#chance.pick(operations).split(' ');
    const filled = path.replaceAll(/\{\w+\}/g, () =>
      this.#chance.odds(0.5)
        ? String(this.options.build)
        : encodeURIComponent(this.#chance.pick([...VALUES, ...TEXTS]).slice(0, 2_000)),
    );
    const names = ['after', 'limit', 'build', 'state', 'q', 'lines', 'tail', 'stream', 'regex'];
    const query = names
      .filter(() => this.#chance.odds(0.2))
      .map((name) => `${name}=${this.#chance.pick([...VALUES, ...TEXTS])}`)
      .join('&');
    const body = method === 'GET' || method === 'DELETE' ? undefined : this.#body();
    await this.#ask(method, encodeURI(`${filled}?${query}`), body);
  }

  #body(): string {
    const deep = '['.repeat(20_000);
    return this.#chance.pick(['{}', '[]', deep, '{"a":'.repeat(5_000), `"${'x'.repeat(100_000)}"`]);
  }

  async #search(): Promise<void> {
    const q = this.#chance.pick(['(x+x+)+y', '.*.*.*=', 'a', '[0-9a-f]{1000}', '(.|\\n)*?zzz']);
    const path = `/api/v1/builds/${this.options.build}/steps/1/log/search`;
    await this.#ask('GET', `${path}?regex=true&limit=1000&q=${encodeURIComponent(q)}`);
  }

  #lint(): Promise<void> {
    const worst = this.#chance.pick([
      `builders: {a: {steps: [${'{run: x}, '.repeat(20_000)}]}}`,
      `a: ${'[&x '.repeat(100)}`,
      'builders:\n' + 'b: *b\n'.repeat(30_000),
      `builders: { ${'"'.repeat(200_000)} }`,
    ]);
    return this.#ask('POST', '/api/v1/farm/lint', JSON.stringify({ source: worst }));
  }

  async #signIn(): Promise<void> {
    const token = this.#chance.odds(0.5) ? this.options.token : `igt_${'0'.repeat(60)}`;
    await this.#ask('POST', '/api/v1/session', JSON.stringify({ token }), {
      origin: this.options.url,
    });
  }

  /** Asks for much and takes a little of it, now and then. */
  async #download(): Promise<void> {
    const path = this.#chance.pick([
      'artifacts.zip',
      'artifacts.tar',
      'steps/1/log',
      'steps/1/log?timestamps=true',
    ]);
    await new Promise<void>((resolve, reject) => {
      const asked = this.#open('GET', `/api/v1/builds/${this.options.build}/${path}`, {});
      asked.on('error', reject);
      asked.on('response', (answer) => {
        this.#count(`${answer.statusCode} download`);
        answer.once('data', () => answer.pause());
        answer.on('error', reject);
        answer.on('close', resolve);
        setTimeout(() => answer.destroy(), this.#chance.between(100, 20_000));
      });
      asked.end();
    });
  }

  /** A live socket with as many subscriptions as it takes, which then reads nothing. */
  async #watch(): Promise<void> {
    const socket = new WebSocket(`${this.options.url.replace('http', 'ws')}/api/v1/live`, {
      headers: { authorization: `Bearer ${this.options.token}` },
      perMessageDeflate: false,
    });
    await new Promise<void>((resolve) => {
      socket.on('unexpected-response', (_, answer) => {
        this.#count(`${answer.statusCode} live`);
        answer.resume();
        socket.terminate();
        resolve();
      });
      socket.on('error', () => resolve());
      socket.on('close', (code) => {
        this.#count(`close ${code}`);
        resolve();
      });
      socket.on('open', () => {
        this.#count('live opened');
        const requests = this.#chance.pick([1, 64, 128, 640]);
        for (let id = 0; id < requests; id++) socket.send(this.#subscription(id));
        socket.pause();
        // One that is not read tells nothing of its end.
        const end = () => {
          socket.terminate();
          resolve();
        };
        setTimeout(end, this.#chance.between(1_000, 30_000));
      });
    });
  }

  #subscription(id: number): string {
    const { build } = this.options;
    return JSON.stringify(
      this.#chance.pick<object>([
        { type: 'subscribe', id: `${id}`, topic: 'events' },
        { type: 'subscribe', id: `${id}`, topic: 'log', build, step: 1, offset: 0 },
        { type: 'subscribe', id: `${id}`, topic: 'log', build: 2 ** 53, step: -1 },
        { type: 'unsubscribe', id: `${id - 1}` },
        { type: 'x'.repeat(10_000), id },
      ]),
    );
  }

  /** A stranger's request that does not end, or is none. */
  async #sendHalf(): Promise<void> {
    const { hostname, port } = new URL(this.options.url);
    const head = 'POST /api/v1/build-requests HTTP/1.1\r\nHost: x\r\n';
    const upgrade = 'GET /api/v1/worker HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
    const bytes = this.#chance.pick([
      `${head}Content-Length: 2097151\r\n\r\n${'x'.repeat(1_000_000)}`,
      head,
      `${upgrade}Host: [\r\n\r\n`,
      `${upgrade}Host: x\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n`,
      '\x16\x03\x01',
    ]);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => socket.write(bytes));
      socket.on('error', () => undefined);
      socket.on('data', () => undefined);
      socket.on('close', () => resolve());
      setTimeout(
        () => (this.#chance.odds(0.5) ? socket.resetAndDestroy() : socket.destroy()),
        this.#chance.between(10, 15_000),
      );
    });
    this.#count('half requests');
  }

  async #ask(
    method: string,
    path: string,
    body?: string,
    headers: Record<string, string> = {},
  ): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const asked = this.#open(method, path, {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      });
      asked.on('error', reject);
      asked.on('response', (answer) => {
        this.#count(String(answer.statusCode));
        answer.resume();
        answer.on('error', reject);
        answer.on('close', resolve);
      });
      asked.end(body);
    });
  }

  #open(method: string, path: string, headers: Record<string, string>): ClientRequest {
    return request(`${this.options.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.options.token}`, ...headers },
      timeout: 60_000,
    });
  }
}

/** Attacks until the time is over; bounded by `AT_ONCE` connections of each kind. */
export function attackAsReader(options: ReaderAttack): Promise<ReaderReport> {
  return new Reader(options).run();
}
