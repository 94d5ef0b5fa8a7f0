/**
 * What a hostile worker sends, always the same for a seed: messages whose every field may be extreme, frames that do not
 * hold what they say, and texts that are no message at all. For tests alone; most of it no worker of ours could send.
 */
import { crc32, constants, deflateRawSync } from 'node:zlib';
import { CHUNK_BYTES, encodeFrame, STREAMS, type StreamName } from '@impgem/protocol';

/** Names an attempt that the sender holds, or held. */
export interface HeldRef {
  build: number;
  epoch: number;
}

/** What to send, and what it is, for the message of a test that fails. */
export interface HostileFrame {
  what: string;
  frame: string | Uint8Array;
}

const SHA = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const NUMBERS = [
  0,
  1,
  -1,
  2,
  255,
  65_535,
  65_536,
  1.5,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  -(2 ** 31),
  Number.MAX_SAFE_INTEGER,
  Number.MAX_SAFE_INTEGER + 1,
  1e300,
];
const CHARACTERS = ['a', '\0', '\u0001', '"', '\\', '/', '\n', '\u009b', 'é', '€', '😀'];
const ODD_CHARACTERS = ['\uD800', '\uDC00', '\uFFFF', '\u202e', '\u2028', '\uFEFF'];
const ODD_TEXTS = ['', '.', '..', '../x', '/etc', '__proto__', 'constructor', 'NULL', '{}', '%s'];
const LENGTHS = [1, 2, 63, 64, 100, 101, 200, 255, 500, 1000, 1024, 1025, 2000, 2001, 5000];
const RESULTS = ['success', 'warnings', 'failure', 'skipped', 'exception', 'retry', 'cancelled'];

const FLUSHED = { finishFlush: constants.Z_FULL_FLUSH };

/** A generator of numbers in [0, 2^32), always the same for a seed (xorshift32). */
export function seededRandom(seed: number): () => number {
  let state = (Math.imul(seed, 2_654_435_761) | 1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

export class HostileTraffic {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** A whole number from 0 to `most` - 1. */
  below(most: number): number {
    return this.#random() % most;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Anything, as a worker that holds these attempts would send it next. */
  next(held: readonly HeldRef[]): HostileFrame {
    const kinds = [
      () => this.message(held),
      () => this.message(held),
      () => this.message(held),
      () => this.brokenText(),
      () => this.chunk(held),
      () => this.chunk(held),
      () => this.block(held),
      () => this.brokenFrame(),
    ];
    return this.pick(kinds)();
  }

  /** Of the right shape, as a rule, with values at and beyond their bounds. */
  message(held: readonly HeldRef[]): HostileFrame {
    const messages = [
      () => ({ type: 'credit', add: this.number() }),
      () => this.#heartbeat(),
      () => ({ type: 'drain' }),
      () => ({ type: 'refuse', ...this.#ref(held), reason: this.#reason() }),
      () => ({ type: 'event', ...this.#ref(held), ...this.#place(), event: this.#event() }),
      () => ({ type: 'event', ...this.#ref(held), ...this.#place(), event: this.#event() }),
      () => this.#offer(held),
      () => ({ type: 'artifact.done', ...this.#ref(held), ...this.#file(), sha256: this.#sha() }),
      () => this.hello(),
    ];
    const message = this.#spoiled(this.pick(messages)() as Record<string, unknown>);
    return { what: String(message.type), frame: JSON.stringify(message) };
  }

  hello(): Record<string, unknown> {
    const platform = { os: this.text(), arch: this.text(), hostname: this.text() };
    return {
      type: 'hello',
      version: this.text(),
      process: '6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1',
      platform: { ...platform, cpus: this.number(), memory: this.number() },
      executor: 'scripted',
      labels: Array.from({ length: this.below(70) }, () => this.text()),
      slots: this.number(),
      builds: Array.from({ length: this.below(4) }, () => ({
        ...this.#ref([]),
        seq: this.number(),
        finished: this.below(2) === 0,
      })),
    };
  }

  /** A log chunk whose header, payload or place is wrong, or right. */
  chunk(held: readonly HeldRef[]): HostileFrame {
    const bytes = Buffer.from(this.text());
    const good = deflateRawSync(bytes, FLUSHED);
    const payloads: [string, () => Uint8Array][] = [
      ['whole', () => good],
      ['empty', () => new Uint8Array()],
      ['cut', () => good.subarray(0, good.length - 1 - this.below(4))],
      ['with a final block', () => deflateRawSync(bytes)],
      ['with bytes behind', () => Buffer.concat([good, Buffer.alloc(this.below(100_000) + 1, 7)])],
      ['padded with flushes', () => Buffer.concat(Array.from({ length: 2000 }, () => FLUSH))],
      ['of noise', () => Uint8Array.from({ length: this.below(2000) }, () => this.below(256))],
      ['that inflates to much', () => deflateRawSync(Buffer.alloc(4 * 1024 * 1024), FLUSHED)],
    ];
    const [what, payload] = this.pick(payloads);
    const { build, epoch } = this.#ref(held);
    const frame = encodeFrame({
      kind: 'log',
      build: bounded(build, Number.MAX_SAFE_INTEGER),
      epoch: bounded(epoch, 2 ** 32 - 1),
      seq: this.below(3) > 0 ? 1 + this.below(20) : this.#random(),
      step: this.below(3) > 0 ? 0 : this.below(65_536),
      stream: this.pick<StreamName>(STREAMS),
      offset: this.below(3) > 0 ? 0 : bounded(this.number(), Number.MAX_SAFE_INTEGER),
      length: this.below(3) > 0 ? bytes.length : this.pick([0, 1, CHUNK_BYTES, 2 ** 32 - 1]),
      crc32: this.below(3) > 0 ? crc32(bytes) : this.#random(),
      atMs: this.#random(),
      payload: payload(),
    });
    return { what: `log chunk ${what}`, frame };
  }

  /** A block of an artifact, offered or not. */
  block(held: readonly HeldRef[]): HostileFrame {
    const { build, epoch } = this.#ref(held);
    const frame = encodeFrame({
      kind: 'artifact',
      build: bounded(build, Number.MAX_SAFE_INTEGER),
      epoch: bounded(epoch, 2 ** 32 - 1),
      artifact: this.below(3) > 0 ? this.below(4) : this.below(65_536),
      offset: this.below(2) > 0 ? 0 : bounded(this.number(), Number.MAX_SAFE_INTEGER),
      payload: Buffer.alloc(this.below(70_000), 1),
    });
    return { what: 'artifact block', frame };
  }

  brokenText(): HostileFrame {
    const texts = [
      '',
      '{',
      'null',
      '[]',
      '"hello"',
      '[['.repeat(1000),
      '{"type":"__proto__"}',
      '{"type":"event"}',
      `{"type":${JSON.stringify(this.text())}}`,
      `{"type":"hello","x":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
      `{"type":"drain",${Array.from({ length: 3000 }, (_, n) => `"k${n}":${n}`).join(',')}}`,
    ];
    return { what: 'text that is no message', frame: this.pick(texts) };
  }

  brokenFrame(): HostileFrame {
    const length = this.pick([0, 1, 39, 40, 41, 1000]);
    const frame = Uint8Array.from({ length }, () => this.below(256));
    return { what: 'bytes that are no frame', frame };
  }

  text(): string {
    if (this.below(4) === 0) return this.pick(ODD_TEXTS);
    const character = this.below(6) === 0 ? this.pick(ODD_CHARACTERS) : this.pick(CHARACTERS);
    return character.repeat(this.pick(LENGTHS));
  }

  number(): number {
    return this.pick(NUMBERS);
  }

  /** As a rule one that is held, else a wrong build, a wrong epoch, or nonsense. */
  #ref(held: readonly HeldRef[]): HeldRef {
    const known = this.pick(held.length > 0 ? held : [{ build: 1, epoch: 1 }]);
    const how = this.below(20);
    if (how === 0) return { build: this.number(), epoch: known.epoch };
    if (how === 1) return { build: known.build, epoch: this.number() };
    return { build: known.build, epoch: known.epoch };
  }

  #place(): { seq: number; atMs: number } {
    return { seq: this.below(3) > 0 ? 1 + this.below(20) : this.number(), atMs: this.number() };
  }

  #file(): { artifact: number; size: number } {
    return { artifact: this.below(4), size: this.below(2) > 0 ? this.below(200) : this.number() };
  }

  #sha(): string {
    return this.below(4) > 0 ? SHA : this.text();
  }

  #reason(): { code: string; message: string } {
    const codes = ['draining', 'worker-busy', 'policy', 'a'.repeat(64), 'no-such-code'];
    return { code: this.pick(codes), message: this.text() };
  }

  #event(): Record<string, unknown> {
    const result = this.pick(RESULTS);
    const step = this.below(3) > 0 ? 0 : this.number();
    const hashes = { system: this.#sha(), stdout: this.#sha() };
    const log = { bytes: this.below(2) > 0 ? 0 : this.number(), sha256: hashes };
    const events = [
      { kind: 'build.started' },
      { kind: 'property.set', name: this.text(), value: this.text() },
      { kind: 'step.started', step },
      { kind: 'step.finished', step, result, log },
      { kind: 'step.finished', step, result, exitCode: this.number(), reason: this.#reason(), log },
      { kind: 'build.finished', result, reason: this.#reason() },
    ];
    // An end makes what follows of the build void: rarely.
    return this.pick(this.below(10) === 0 ? events : events.slice(0, 5));
  }

  #heartbeat(): Record<string, unknown> {
    const free = { diskFree: this.number(), inodesFree: this.number() };
    const told = { lowDisk: this.text(), spooled: this.number(), leaked: this.number() };
    return { type: 'heartbeat', running: this.number(), ...free, ...told };
  }

  #offer(held: readonly HeldRef[]): Record<string, unknown> {
    const path = this.text();
    const { artifact, size } = this.#file();
    const mode = this.pick([0, 0o644, 0o4755, 0o7777]);
    const first = { artifact, path, size: 0, mode, sha256: SHA };
    const more = Array.from({ length: this.below(5) }, (_, n) => ({
      ...first,
      artifact: n + 1,
      path: this.text(),
    }));
    const files = this.below(2) > 0 ? {} : { files: [first, ...more] };
    const of = { ...this.#ref(held), artifact, path, mode };
    return { type: 'artifact.offer', ...of, size: 'files' in files ? 0 : size, ...files };
  }

  /** Now and then a field is missing, of another type, or one too many. */
  #spoiled(message: Record<string, unknown>): Record<string, unknown> {
    if (this.below(8) > 0) return message;
    const names = Object.keys(message).filter((name) => name !== 'type');
    const name = names.length > 0 ? this.pick(names) : 'x';
    const values = [null, [], {}, [[]], this.text(), this.number(), true, undefined];
    return { ...message, [name]: this.pick(values) };
  }
}

/** An empty stored block: what a flush leaves behind. */
const FLUSH = Buffer.from([0, 0, 0, 0xff, 0xff]);

/** As a header can say it. */
function bounded(value: number, most: number): number {
  return Math.min(Math.max(0, Math.trunc(value)), most);
}
