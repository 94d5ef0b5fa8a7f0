import type { Build, BuildRequest, LogPiece, Step, StreamName } from '@impgem/client';

/** What watching a build tells, in order. */
export interface View {
  /** It is in the queue. */
  queued(request: BuildRequest): void;
  /** An attempt began. */
  build(build: Build): void;
  step(build: Build, step: Step): void;
  piece(build: Build, step: Step, piece: LogPiece): void;
  /** Also for a step that was skipped. */
  stepEnd(build: Build, step: Step): void;
  /** An attempt ended; `again` when another one will follow. */
  buildEnd(build: Build, again: boolean): void;
  /** As `Terminal.full`: what is told waits in memory meanwhile. */
  full(): Promise<void> | undefined;
  /** Something about the connection. */
  note(text: string): void;
}

/** Puts pieces together to lines, for each stream; a very long line comes in parts. */
export class Lines {
  #open = new Map<StreamName, { at: string; text: string }>();
  constructor(
    readonly line: (stream: StreamName, at: string, text: string) => void,
    /** What is kept of a line that has not ended. */
    readonly keep: (open: string) => string = (open) => open,
  ) {}

  add({ stream, at, text }: Pick<LogPiece, 'stream' | 'at' | 'text'>): void {
    const open = this.#open.get(stream);
    const lines = text.split('\n');
    lines.forEach((part, i) => {
      const begun = i === 0 ? open : undefined;
      const isLast = i === lines.length - 1;
      const text = (begun?.text ?? '') + part;
      const whole = isLast ? this.keep(text) : text;
      const since = begun?.at ?? at;
      if (!isLast) this.line(stream, since, whole);
      else if (whole.length > MAX_LINE) {
        this.line(stream, since, whole);
        this.#open.delete(stream);
      } else if (whole === '') this.#open.delete(stream);
      else this.#open.set(stream, { at: since, text: whole });
    });
  }

  /** Ends what has no newline at its end. */
  flush(): void {
    for (const [stream, { at, text }] of this.#open) this.line(stream, at, text);
    this.#open.clear();
  }
}
/** Characters that are kept while waiting for a newline. */
const MAX_LINE = 64 * 1024;
