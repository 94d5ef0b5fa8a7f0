import type { StreamName } from '@impgem/protocol';
import { inflate, type LogRef, type Logs, type StoredChunk } from '../logs/index.js';
import type { Batch, History, Piece, Subscription, Topic } from './subscription.js';
import { Utf8Stream } from './utf8.js';

/** Of one log read at once. */
const BATCH = { chunks: 64, bytes: 512 * 1024 };
/** Logs read in one statement: with the above a bound of the memory of a pass. */
const LOGS_AT_ONCE = 32;

type LogSubscription = Subscription<number>;

/** Makes pieces of the chunks of one log, in order: it holds the unfinished characters between them. */
class LogText {
  readonly #streams = new Map<StreamName, Utf8Stream>();

  constructor(
    private readonly step: number,
    /** The last bytes of each stream before the position. */
    tails: ReadonlyMap<StreamName, Uint8Array>,
  ) {
    for (const [stream, tail] of tails) this.#streams.set(stream, new Utf8Stream(tail));
  }

  /** The part of the chunk from byte `from` of the log on. */
  piece(chunk: StoredChunk, from: number): Piece<number> {
    const offset = Math.max(from, chunk.offset);
    const bytes = inflate(chunk).subarray(offset - chunk.offset);
    const text = this.#stream(chunk.stream).decode(bytes);
    return this.#piece(chunk.stream, offset, bytes.length, chunk.at, text);
  }

  /** What is said when the log is complete at `bytes`: characters that stay unfinished, then the end. */
  *end(bytes: number): Iterable<Piece<number>> {
    for (const [stream, decoder] of this.#streams) {
      const text = decoder.end();
      if (text !== '') yield { ...this.#piece(stream, bytes, 0, new Date(), text), final: true };
    }
    const body = `"step":${this.step},"bytes":${bytes}}`;
    yield { type: 'log.end', end: bytes, body, final: true };
  }

  #piece(
    stream: StreamName,
    offset: number,
    length: number,
    at: Date,
    text: string,
  ): Piece<number> {
    const members = { step: this.step, stream, offset, length, at: at.toISOString(), text };
    return { type: 'log', end: offset + length, body: JSON.stringify(members).slice(1) };
  }

  #stream(name: StreamName): Utf8Stream {
    const stream = this.#streams.get(name) ?? new Utf8Stream();
    this.#streams.set(name, stream);
    return stream;
  }
}

/** The logs that are watched at their heads. */
export class LogHeads {
  readonly #heads = new Map<string, LogHead>();

  constructor(
    private readonly logs: Logs,
    private readonly wake: () => void,
  ) {}

  topic(log: LogRef): Topic<number> {
    return {
      compare: (a, b) => a - b,
      history: async (from) =>
        new LogHistory(
          this.logs,
          log,
          from,
          new LogText(log.step, await this.logs.tails(log, from)),
        ),
      head: {
        join: (subscription, history) => this.#join(log, subscription, history),
        leave: (subscription) => this.#leave(log, subscription),
      },
    };
  }

  /** Reads what is new of every watched log, once for all its viewers. */
  async pass(): Promise<{ againMs?: number }> {
    for (const open = [...this.#heads.values()]; open.length > 0;) {
      const batch = open.splice(0, LOGS_AT_ONCE);
      open.push(...(await this.#read(batch)));
    }
    return {};
  }

  /** Returns the heads that may have more. */
  async #read(heads: LogHead[]): Promise<LogHead[]> {
    const watched = heads.filter((head) => head.viewers.size > 0);
    const pages = await this.logs.read(
      watched.map((head) => ({ ...head.log, offset: head.position })),
      BATCH,
    );
    for (const [i, head] of watched.entries())
      try {
        head.push(pages[i]?.chunks ?? []);
      } catch (error) {
        // A chunk that does not inflate ends this log's viewers, and nobody else's.
        for (const viewer of head.viewers) viewer.fail(error);
      }
    const more = watched.filter((_, i) => pages[i]?.more);
    const atEnd = watched.filter((head) => !more.includes(head) && head.viewers.size > 0);
    if (atEnd.length === 0) return more;
    const states = await this.logs.states(atEnd.map((head) => head.log));
    for (const { build, step, bytes, complete } of states) {
      const head = this.#heads.get(keyOf({ build, step }));
      if (complete && head?.position === bytes) head.end();
    }
    return more;
  }

  #join(log: LogRef, subscription: LogSubscription, history: History<number>): boolean {
    const key = keyOf(log);
    const head = this.#heads.get(key);
    if (head && subscription.position < head.position) return false;
    if (head) head.viewers.add(subscription);
    else if (history instanceof LogHistory)
      this.#heads.set(key, new LogHead(log, subscription, history.text));
    // What was committed since its last read may have been announced already.
    this.wake();
    return true;
  }

  #leave(log: LogRef, subscription: LogSubscription): void {
    const key = keyOf(log);
    const head = this.#heads.get(key);
    if (head?.viewers.delete(subscription) && head.viewers.size === 0) this.#heads.delete(key);
  }
}

class LogHead {
  position: number;
  readonly viewers: Set<LogSubscription>;

  /** Goes on where its first viewer stands, with that one's unfinished characters. */
  constructor(
    readonly log: LogRef,
    first: LogSubscription,
    private readonly text: LogText,
  ) {
    this.position = first.position;
    this.viewers = new Set([first]);
  }

  push(chunks: readonly StoredChunk[]): void {
    for (const chunk of chunks) {
      if (chunk.offset < this.position) continue;
      const piece = this.text.piece(chunk, this.position);
      this.position = piece.end;
      this.#give(piece);
    }
  }

  end(): void {
    for (const piece of this.text.end(this.position)) this.#give(piece);
  }

  #give(piece: Piece<number>): void {
    for (const viewer of this.viewers) viewer.take(piece);
  }
}

class LogHistory implements History<number> {
  constructor(
    private readonly logs: Logs,
    private readonly log: LogRef,
    private position: number,
    readonly text: LogText,
  ) {}

  async read(): Promise<Batch<number>> {
    // First the state, then the chunks: what it counts can be read then.
    const state = await this.logs.state(this.log);
    const [page] = await this.logs.read([{ ...this.log, offset: this.position }], BATCH);
    const { chunks, more } = page ?? { chunks: [], more: false };
    const last = chunks.at(-1);
    const from = this.position;
    const end = last ? last.offset + last.length : from;
    const finished = state.complete && end >= state.bytes && !more;
    this.position = end;
    return {
      pieces: this.#pieces(chunks, from, finished ? end : undefined),
      end,
      exhausted: !more,
      finished,
    };
  }

  *#pieces(
    chunks: readonly StoredChunk[],
    from: number,
    end: number | undefined,
  ): Iterable<Piece<number>> {
    for (const chunk of chunks) yield this.text.piece(chunk, from);
    if (end !== undefined) yield* this.text.end(end);
  }
}

const keyOf = ({ build, step }: LogRef) => `${build}:${step}`;
