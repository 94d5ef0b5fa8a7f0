/**
 * Bytes that no program of ours would send, from a seed: requests and upgrades by a grammar whose parts are wrong now and then,
 * frames after a handshake that is right, noise; in pieces, one after the other, with ends of every kind.
 */
import { Chance } from '../sim/chance.js';

/** How a peer leaves: with a reset, closing its own half, closing all, or waiting for the other to close. */
export type Ending = 'reset' | 'half' | 'close' | 'wait';

export interface RawRun {
  kind: string;
  /** Sent one after the other; a pause before all but the first. */
  pieces: Buffer[];
  pauseMs: number;
  ending: Ending;
  /** Whether an answer is awaited before the end; it may not come. */
  reads: boolean;
}

export interface RawTokens {
  /** API tokens. */
  api: readonly string[];
  /** Credentials of workers. */
  worker: readonly string[];
}

const CRLF = '\r\n';
const HOSTS = [
  'farm',
  '127.0.0.1',
  '[',
  '[::1',
  'a b',
  'a:99999',
  '',
  'a/b',
  '\u00ff',
  'x'.repeat(9000),
  '%',
  'a@b',
  ':',
];
const TARGETS = [
  '/',
  '/api/v1/live',
  '/api/v1/worker',
  '/api/v1/builds',
  '/api/v1/session',
  '/api/v1/workers/register',
  '/api/docs',
  '/health/ready',
  '/metrics',
  '//[',
  '//',
  '*',
  'http://other/api/v1/live',
  'http://[/x',
  '/%',
  '/%00',
  '/..%2f..',
  '/api/v1/live/',
  '/api/v1/live?x=1',
  '/API/v1/live',
  '/api/v1/builds/1/steps/0/log',
  '?',
  '#',
  'farm:443',
  `/${'a/'.repeat(3000)}`,
  '\u00e9',
  '/api/v1/builds?after=%ff',
];
const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'HEAD',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'PRI',
  'PATCH',
  'get',
  'QUERY',
  'G',
];
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/2.0',
  'HTTP/0.9',
  'HTTP/1.1 ',
  'HTTP/',
  'http/1.1',
  '',
];
const KEYS = [
  'AAAAAAAAAAAAAAAAAAAAAA==',
  'AAAA',
  '',
  '=',
  'A'.repeat(500),
  'AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==',
];
const PROTOCOLS = [
  'impgem.worker.v1.1',
  'impgem.worker.v1.0',
  'impgem.worker.v9.9',
  `impgem.worker.v${'9'.repeat(200)}`,
  'chat, impgem.worker.v1.1',
  ',',
  'a,a',
  '"',
  '\u00e4',
  Array.from({ length: 400 }, (_, n) => `p${n}`).join(','),
];
const EXTENSIONS = [
  'permessage-deflate',
  'permessage-deflate; client_max_window_bits',
  'permessage-deflate; server_max_window_bits=99',
  'x; y="',
  ';;;',
  'permessage-deflate, '.repeat(300),
];
const FIELDS = [
  'Expect: 100-continue',
  'Expect: everything',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Content-Length: 5',
  'Content-Length: -1',
  'Content-Length: 99999999999999999999',
  'Content-Length: 3, 3',
  'Transfer-Encoding:\tchunked',
  'Connection: close',
  'Connection: keep-alive, Upgrade',
  'Connection: TE',
  'Upgrade: h2c',
  'Upgrade: websocket',
  'Upgrade:',
  'HTTP2-Settings: AAMAAABkAAQAAP__',
  'Origin: https://evil.example',
  'Origin: null',
  'Origin: [',
  'Sec-Fetch-Site: cross-site',
  'Cookie: impgem_session=x',
  `Cookie: ${'a=b; '.repeat(2000)}`,
  'Range: bytes=9-1',
  'If-None-Match: "',
  'Accept-Encoding: gzip;q=x',
  'X-Forwarded-For: [, ::1',
  'Trailer: x',
  'Content-Type: application/json',
  'Content-Type: application/yaml; charset="',
  'Content-Type: multipart/form-data',
  'Bad Name: x',
  ' folded',
  'NoColon',
  'A: \u0000',
  `B: ${'b'.repeat(20_000)}`,
];
const BODIES = [
  '',
  '{',
  '{}',
  '[[[[',
  '"\\ud800"',
  '5\r\nhello\r\n0\r\nX: y\r\n\r\n',
  'ffffffffffffffff1\r\nx',
  '5\r\nhel',
  '0\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  '\u0000\u0001',
];
const MESSAGES = [
  '{}',
  '[]',
  'null',
  '1',
  '"',
  '{"type":"hello"}',
  '{"type":"heartbeat","running":0}',
  '{"type":"subscribe","id":"a","topic":"events"}',
  '{"type":"subscribe","id":"a","topic":"events","after":"x"}',
  '{"type":"subscribe","id":"b","topic":"log","build":1,"step":0,"offset":0}',
  '{"type":"unsubscribe","id":"b"}',
  `{"type":"subscribe","id":"${'\\u0001'.repeat(300)}","topic":"events"}`,
  '{"type":"hello","version":"1","process":"6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1","platform":{"os":"linux","arch":"amd64","hostname":"h","cpus":1,"memory":1},"executor":"docker","labels":[],"slots":1,"builds":[]}',
  '{"type":"event","build":1,"epoch":1,"seq":1,"atMs":1,"event":{"type":"build.started"}}',
  `{"type":"${'x'.repeat(3000)}"}`,
  '['.repeat(5000),
  '{"__proto__":{"type":"hello"}}',
];
const CLOSES = [1000, 1001, 1005, 1006, 1015, 999, 0, 65535, 1012, 3000, 4999, 5000];

/** The run of a number: the same for the same seed. */
export function rawRun(seed: number, number: number, tokens: RawTokens): RawRun {
  const chance = new Chance(seed * 1_000_003 + number);
  const [kind, make] = chance.pick(KINDS);
  const bytes = make(new Grammar(chance, tokens));
  return {
    kind,
    pieces: pieces(chance, bytes),
    pauseMs: chance.odds(0.8) ? 0 : chance.int(1, 15),
    ending: chance.pick(['reset', 'reset', 'half', 'close', 'wait'] as const),
    reads: chance.odds(0.6),
  };
}

const KINDS: [string, (grammar: Grammar) => Buffer][] = [
  ['request', (grammar) => grammar.requests()],
  ['upgrade', (grammar) => grammar.upgrade(0.35)],
  ['upgrade', (grammar) => grammar.upgrade(0.1)],
  ['frames', (grammar) => Buffer.concat([grammar.upgrade(0), grammar.frames()])],
  ['frames', (grammar) => Buffer.concat([grammar.upgrade(0), grammar.frames()])],
  ['noise', (grammar) => grammar.noise()],
];

function pieces(chance: Chance, bytes: Buffer): Buffer[] {
  if (chance.odds(0.1)) return pieces(chance, damaged(chance, bytes));
  if (chance.odds(0.15)) return [bytes.subarray(0, chance.int(0, bytes.length))];
  const count = chance.odds(0.5) ? 1 : chance.int(2, 6);
  const borders = Array.from({ length: count - 1 }, () => chance.int(0, bytes.length)).sort(
    (a, b) => a - b,
  );
  return [0, ...borders].map((from, index) => bytes.subarray(from, borders[index]));
}

/** A few bytes of it changed. */
function damaged(chance: Chance, bytes: Buffer): Buffer {
  const other = Buffer.from(bytes);
  for (let count = chance.int(1, 4); count > 0 && other.length > 0; count--)
    other[chance.int(0, other.length - 1)] = chance.int(0, 255);
  return other;
}

class Grammar {
  constructor(
    private readonly chance: Chance,
    private readonly tokens: RawTokens,
  ) {}

  requests(): Buffer {
    return Buffer.concat(Array.from({ length: this.chance.int(1, 4) }, () => this.#request()));
  }

  #request(): Buffer {
    const { chance } = this;
    const lines = [
      `${this.#or(0.6, 'GET', METHODS)} ${chance.pick(TARGETS)} ${this.#or(0.8, 'HTTP/1.1', VERSIONS)}`,
    ];
    for (let hosts = chance.odds(0.9) ? 1 : chance.int(0, 2); hosts > 0; hosts--)
      lines.push(`Host: ${this.#or(0.7, 'farm', HOSTS)}`);
    if (chance.odds(0.6)) lines.push(this.#authorization());
    for (let more = chance.int(0, 5); more > 0; more--) lines.push(chance.pick(FIELDS));
    const body = chance.odds(0.5) ? chance.pick(BODIES) : '';
    if (body && chance.odds(0.5))
      lines.push(`Content-Length: ${Buffer.byteLength(body, 'latin1')}`);
    const end = this.#or(0.95, CRLF, ['\n', '\r']);
    return Buffer.from(`${lines.join(end)}${end}${end}${body}`, 'latin1');
  }

  /** A handshake; each part is wrong with these odds. */
  upgrade(wrong: number): Buffer {
    const { chance } = this;
    const right = 1 - wrong;
    const worker = chance.odds(0.5);
    const path = worker ? '/api/v1/worker' : '/api/v1/live';
    const part = (name: string, usual: string, others: readonly string[]) => {
      const value = this.#or(right, usual, others);
      return value === usual && chance.odds(wrong / 2) ? [] : [`${name}: ${value}`];
    };
    const token = worker ? chance.pick(this.tokens.worker) : chance.pick(this.tokens.api);
    const lines = [
      `${this.#or(right, 'GET', METHODS)} ${this.#or(right, path, TARGETS)} ${this.#or(right, 'HTTP/1.1', VERSIONS)}`,
      ...part('Host', 'farm', HOSTS),
      ...part('Connection', 'Upgrade', ['close', 'keep-alive', 'upgrade, close']),
      ...part('Upgrade', 'websocket', ['h2c', 'WebSocket, h2c', '', 'TLS/1.0']),
      ...part('Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==', KEYS),
      ...part('Sec-WebSocket-Version', '13', ['8', '0', '99', 'x', '13, 8']),
      ...(worker || chance.odds(wrong)
        ? part('Sec-WebSocket-Protocol', 'impgem.worker.v1.1', PROTOCOLS)
        : []),
      ...(chance.odds(0.2) ? [`Sec-WebSocket-Extensions: ${chance.pick(EXTENSIONS)}`] : []),
      chance.odds(right) ? `Authorization: Bearer ${token}` : this.#authorization(),
    ];
    for (let more = chance.odds(wrong) ? chance.int(1, 4) : 0; more > 0; more--)
      lines.push(chance.pick(FIELDS));
    return Buffer.from(`${lines.join(CRLF)}${CRLF}${CRLF}`, 'latin1');
  }

  frames(): Buffer {
    const { chance } = this;
    if (chance.odds(0.05))
      return Buffer.concat(
        Array.from({ length: 400 }, () => this.#frame(9, this.#noise(chance.int(0, 125)))),
      );
    return Buffer.concat(Array.from({ length: chance.int(1, 12) }, () => this.#anyFrame()));
  }

  noise(): Buffer {
    return this.#noise(
      this.chance.odds(0.8) ? this.chance.int(0, 300) : this.chance.int(300, 70_000),
    );
  }

  #anyFrame(): Buffer {
    const { chance } = this;
    const text = Buffer.from(chance.pick(MESSAGES));
    switch (chance.int(0, 6)) {
      case 0:
      case 1:
        return this.#frame(1, text);
      case 2:
        return this.#frame(2, this.#dataFrame());
      case 3:
        return this.#frame(8, this.#close());
      case 4: {
        const cut = chance.int(0, text.length);
        return Buffer.concat([
          this.#frame(1, text.subarray(0, cut), { last: false }),
          this.#frame(0, text.subarray(cut), { last: chance.odds(0.8) }),
        ]);
      }
      case 5:
        return this.#frame(chance.pick([9, 10]), this.#noise(chance.int(0, 130)));
      default:
        return this.#frame(chance.int(0, 15), this.#noise(chance.int(0, 400)), {
          last: chance.odds(0.7),
          reserved: chance.odds(0.3) ? chance.int(1, 7) : 0,
          masked: chance.odds(0.7),
          length: chance.odds(0.3)
            ? chance.pick([0, 125, 126, 65_535, 2 ** 20, 2 ** 31, 2 ** 53])
            : undefined,
        });
    }
  }

  #frame(opcode: number, payload: Buffer, options: FrameOptions = {}): Buffer {
    const { last = true, reserved = 0, masked = true, length = payload.length } = options;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
    head[0] = (last ? 128 : 0) | (reserved << 4) | opcode;
    head[1] = (masked ? 128 : 0) | (length < 126 ? length : length < 65_536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    // a mask of zeros leaves the payload as it is
    return Buffer.concat([head, ...(masked ? [Buffer.alloc(4)] : []), payload]);
  }

  #dataFrame(): Buffer {
    const { chance } = this;
    const frame = this.#noise(chance.int(0, 120));
    if (frame.length > 0) frame[0] = chance.int(0, 3);
    return frame;
  }

  #close(): Buffer {
    const { chance } = this;
    const code = Buffer.alloc(2);
    code.writeUInt16BE(chance.pick(CLOSES));
    const reason = chance.odds(0.5)
      ? Buffer.from('x'.repeat(chance.int(0, 124)))
      : this.#noise(chance.int(0, 20));
    return chance.odds(0.1) ? code.subarray(0, 1) : Buffer.concat([code, reason]);
  }

  #authorization(): string {
    const { chance } = this;
    const token = chance.pick([...this.tokens.api, ...this.tokens.worker]);
    return chance.pick([
      `Authorization: Bearer ${token}`,
      `Authorization: Bearer ${token.slice(0, -1)}0`,
      `Authorization: Bearer igt_aaaaaaaaaaaa_${'A'.repeat(43)}`,
      'Authorization: Basic x',
      `Authorization: ${'B'.repeat(6000)}`,
      'Authorization:',
    ]);
  }

  #noise(length: number): Buffer {
    const noise = Buffer.alloc(length);
    for (let at = 0; at < length; at++) noise[at] = this.chance.int(0, 255);
    return noise;
  }

  #or<T>(odds: number, usual: T, others: readonly T[]): T {
    return this.chance.odds(odds) ? usual : this.chance.pick(others);
  }
}

interface FrameOptions {
  last?: boolean;
  reserved?: number;
  masked?: boolean;
  length?: number | undefined;
}
