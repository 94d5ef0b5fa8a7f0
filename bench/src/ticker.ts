/** A step that prints lines with a clock in them, at an even pace, and those who read them. */
import { DEBIAN } from './docker.js';

/** Seconds before the first line: viewers come in meanwhile. */
const LEAD_S = 3;
const LINES_PER_SECOND = 1000;

/** A container's step that prints so many seconds of `<number> <microseconds since 1970>`. */
export function ticker(seconds: number): object {
  const script = `export LC_ALL=C
    mkfifo /tmp/never; exec 3<>/tmp/never
    sleep ${LEAD_S}
    start=\${EPOCHREALTIME/./}
    for ((i = 0; i < ${linesOf(seconds)}; i++)); do
      while now=\${EPOCHREALTIME/./}; ((now < start + i * ${1_000_000 / LINES_PER_SECOND})); do read -t 0.0005 -u 3; done
      printf "%07d %s\\n" "$i" "$now"
    done`;
  return { image: DEBIAN, steps: [{ name: 'tick', run: `exec bash -c '${script}'` }] };
}

export const linesOf = (seconds: number) => seconds * LINES_PER_SECOND;
const LINE = /^(\d{7}) (\d{16})$/;

/** Reads the lines as pieces come, and notes how old each is then; throws for one that is missing or twice. */
export class TickerReader {
  readonly delaysMs: number[] = [];
  /** Of the log. */
  offset = 0;
  lines = 0;
  #rest = '';

  /** `everyLine`: else only the oldest of each piece is timed, which is the slowest. */
  constructor(private readonly everyLine: boolean) {}

  take(piece: { stream: string; offset: number; length: number; text: string }): void {
    // whole milliseconds, cut off; the one more makes ours longer, if anything
    const now = Date.now() + 1;
    if (piece.offset !== this.offset)
      throw new Error(`a piece begins at ${piece.offset}, ${this.offset} was expected`);
    this.offset += piece.length;
    // what the farm itself has to say
    if (piece.stream === 'system') return;
    const lines = (this.#rest + piece.text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const [index, line] of lines.entries()) {
      if (index > 0 && !this.everyLine) continue;
      const found = LINE.exec(line);
      if (Number(found?.[1]) !== this.lines + index)
        throw new Error(`line ${this.lines + index} was expected, not ${JSON.stringify(line)}`);
      this.delaysMs.push(now - Number(found?.[2]) / 1000);
    }
    this.lines += lines.length;
  }
}
