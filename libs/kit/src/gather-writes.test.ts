import { describe, expect, it } from '@jest/globals';
import { gatherWrites } from './gather-writes.js';

/** Notes what goes out, as Node's streams do it. */
class Stream {
  readonly sent: string[] = [];
  #waiting: string[] = [];
  #corked = 0;

  write(text: string): boolean {
    this.#waiting.push(text);
    if (this.#corked === 0) this.#flush();
    return this.sent.length === 0;
  }
  cork(): void {
    this.#corked += 1;
  }
  uncork(): void {
    this.#corked -= 1;
    if (this.#corked === 0) this.#flush();
  }
  #flush(): void {
    this.sent.push(this.#waiting.splice(0).join(''));
  }
}

describe('gatherWrites', () => {
  it('sends what is written in one turn together, in its order, at the end of the turn', () => {
    const ends: (() => void)[] = [];
    const stream = gatherWrites(new Stream(), (run) => ends.push(run));
    expect(stream.write('a')).toBe(true);
    stream.cork();
    stream.write('b');
    stream.uncork();
    stream.write('c');
    expect(stream.sent).toEqual([]);
    expect(ends).toHaveLength(1);
    ends[0]?.();
    expect(stream.sent).toEqual(['abc']);
    stream.write('d');
    ends[1]?.();
    expect(stream.sent).toEqual(['abc', 'd']);
    expect(ends).toHaveLength(2);
  });
});
