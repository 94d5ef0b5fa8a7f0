import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import * as fc from 'fast-check';
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { CHUNK_BYTES } from '@impgem/protocol';
import type { LogState } from '../spool/index.js';
import { Chunker, CHUNK_WAIT_MS, type Chunk, type ChunkerOptions, type Mask } from './chunker.js';

type Name = 'stdout' | 'stderr' | 'system';

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

function chunker(options: ChunkerOptions = {}) {
  const chunks: Chunk[] = [];
  const made = new Chunker((chunk) => chunks.push(chunk), options);
  const texts = () => chunks.map(({ stream, bytes }) => `${stream} ${bytes.toString()}`);
  const write = (stream: Name, text: string) => made.write(stream, Buffer.from(text));
  return { chunks, made, texts, write };
}

const joined = (chunks: readonly Chunk[], name: Name) =>
  Buffer.concat(chunks.filter(({ stream }) => stream === name).map(({ bytes }) => bytes));

/** Takes `sssss` for a secret. */
const mask = (): Mask => {
  let rawEnd = 0;
  return {
    take: (bytes) => {
      rawEnd += bytes.length;
      return {
        masked: Buffer.from(String(Buffer.from(bytes)).replaceAll('sssss', '*')),
        rawEnd,
      };
    },
    end: () => ({ masked: new Uint8Array(0), rawEnd }),
  };
};

/** Takes `sss` for a secret wherever it is cut, and holds back what may be its beginning, to the end if need be. */
const holding = (): Mask => {
  let held = '';
  let rawEnd = 0;
  return {
    take: (bytes) => {
      const text = (held + Buffer.from(bytes).toString('latin1')).replaceAll('sss', '*');
      const at = text.search(/s{1,2}$/);
      held = at < 0 ? '' : text.slice(at);
      rawEnd += bytes.length;
      const masked = Buffer.from(at < 0 ? text : text.slice(0, at), 'latin1');
      return { masked, rawEnd: rawEnd - held.length };
    },
    end: () => ({ masked: Buffer.from(held, 'latin1'), rawEnd }),
  };
};

/** How far a journal with these chunks tells of the log. */
function stateOf(chunks: readonly Chunk[]): LogState {
  const ends: LogState['ends'] = {};
  for (const { stream, rawEnd: raw, maskedEnd: masked } of chunks)
    ends[stream] = { raw, masked, unbroken: masked, crc32: crc32(joined(chunks, stream)) };
  const last = chunks.at(-1);
  return { bytes: last ? last.offset + last.bytes.length : 0, ends, system: '' };
}

describe('Chunker', () => {
  it('cuts at once after quiet, then some time after the first waiting byte, however it drips', () => {
    const { texts, write } = chunker();
    write('stdout', 'a');
    expect(texts()).toEqual(['stdout a']);
    for (const text of 'bcdefghi') {
      write('stdout', text);
      jest.advanceTimersByTime(0.3 * CHUNK_WAIT_MS);
    }
    expect(texts().slice(0, 2)).toEqual(['stdout a', 'stdout bcde']);
    jest.advanceTimersByTime(CHUNK_WAIT_MS);
    expect(texts().join('').replaceAll('stdout ', '')).toBe('abcdefghi');
  });

  it('keeps the order of arrival, and whole lines, between streams', () => {
    const { made, texts, write } = chunker();
    write('stdout', 'first\n');
    write('stdout', 'out 1\nprompt: ');
    write('stderr', 'err 1\n');
    write('stdout', 'yes\n');
    write('stderr', 'err 2\n');
    made.end();
    expect(texts()).toEqual([
      'stdout first\n',
      'stdout out 1\n',
      'stderr err 1\n',
      'stdout prompt: yes\n',
      'stderr err 2\n',
    ]);
  });

  it('does not make a chunk of every line when streams alternate fast', () => {
    const { chunks, made, write } = chunker();
    for (let at = 0; at < 10_000; at += 1) write(at % 2 ? 'stdout' : 'stderr', `line ${at}\n`);
    made.end();
    expect(chunks.length).toBeLessThan(40);
    for (const { bytes } of chunks) expect(bytes.at(-1)).toBe(10);
  });

  it('cuts a line without end at 64 KiB', () => {
    const { chunks, made } = chunker();
    made.write('stdout', Buffer.alloc(50 * CHUNK_BYTES + 5, 'x'));
    made.end();
    expect(chunks.map(({ bytes }) => bytes.length)).toEqual([...Array(50).fill(CHUNK_BYTES), 5]);
  });

  it('is exact to the byte, whatever comes and whenever', () => {
    const write = fc.tuple(
      fc.constantFrom<Name>('stdout', 'stderr', 'system'),
      fc.oneof(
        fc.uint8Array({ maxLength: 50 }),
        fc.nat(3 * CHUNK_BYTES).map((size) => new Uint8Array(size).fill(size % 256)),
      ),
      fc.constantFrom(0, 0, 1, 50, 200),
    );
    fc.assert(
      fc.property(fc.array(write, { maxLength: 30 }), (writes) => {
        const { chunks, made } = chunker();
        for (const [stream, bytes, pause] of writes) {
          made.write(stream, bytes);
          jest.advanceTimersByTime(pause);
        }
        const sum = made.end();
        let offset = 0;
        for (const chunk of chunks) {
          expect(chunk.offset).toBe(offset);
          expect(chunk.bytes.length).toBeLessThanOrEqual(CHUNK_BYTES);
          offset += chunk.bytes.length;
        }
        expect(sum.bytes).toBe(offset);
        for (const name of ['stdout', 'stderr', 'system'] as const) {
          const all = Buffer.concat(writes.filter(([to]) => to === name).map(([, bytes]) => bytes));
          expect(joined(chunks, name).equals(all)).toBe(true);
          const hash = createHash('sha256').update(all).digest('hex');
          expect(sum.sha256[name]).toBe(all.length > 0 ? hash : undefined);
          expect(chunks.findLast(({ stream }) => stream === name)?.rawEnd ?? 0).toBe(all.length);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('counts raw bytes apart from masked ones', () => {
    const { chunks, made, write } = chunker({ mask });
    write('stdout', 'ab');
    write('stdout', 'sssss');
    jest.advanceTimersByTime(CHUNK_WAIT_MS);
    write('stdout', 'cd');
    made.end();
    expect(chunks.map(({ rawEnd, maskedEnd }) => [rawEnd, maskedEnd])).toEqual([
      [2, 2],
      [7, 3],
      [9, 5],
    ]);
  });

  it('says what was left out for want of room, and has no checksum of that stream', () => {
    let keeps = true;
    const { chunks, made, write } = chunker({ keeps: () => keeps });
    write('stdout', 'kept\n');
    keeps = false;
    write('stdout', 'lost\n'.repeat(30_000));
    write('stderr', 'lost too');
    write('system', 'the farm speaks\n');
    jest.advanceTimersByTime(CHUNK_WAIT_MS);
    keeps = true;
    write('stdout', 'again\n');
    const sum = made.end();
    expect(joined(chunks, 'stdout').toString()).toBe('kept\nagain\n');
    expect(joined(chunks, 'stderr').toString()).toBe('');
    expect(joined(chunks, 'system').toString()).toMatch(
      /^the farm speaks\nhere 150000 bytes of stdout are missing: .*\nhere 8 bytes of stderr are missing: .*\n$/,
    );
    const place = chunks.findIndex(({ bytes }) => bytes.includes('bytes of stdout are missing'));
    expect(chunks[place + 1]?.bytes.toString()).toBe('again\n');
    expect(Object.keys(sum.sha256)).toEqual(['system']);
    expect(chunks.at(-1)?.offset).toBe(sum.bytes - (chunks.at(-1)?.bytes.length ?? 0));
    expect(chunks.findLast(({ stream }) => stream === 'stdout')?.rawEnd).toBe(150_011);
  });

  it('masks the same whoever wrote the beginning, and counts raw bytes on', () => {
    const text = fc.string({ unit: fc.constantFrom('s', 's', 'a', '\n'), maxLength: 30 });
    const writes = fc.array(fc.tuple(fc.constantFrom<Name>('stdout', 'stderr'), text), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(writes, fc.nat(20), fc.integer({ min: 1, max: 9 }), (all, kept, size) => {
        const before = chunker({ mask: holding });
        for (const [stream, some] of all) {
          before.write(stream, some);
          jest.advanceTimersByTime(CHUNK_WAIT_MS);
        }
        before.made.end();
        const had = before.chunks.slice(0, kept);
        const after = chunker({ mask: holding, from: stateOf(had) });
        for (const name of ['stderr', 'stdout'] as const) {
          const raw = all.flatMap(([stream, some]) => (stream === name ? [some] : [])).join('');
          for (let at = 0; at < raw.length; at += size) after.write(name, raw.slice(at, at + size));
        }
        const sum = after.made.end();
        expect(after.made.isExact).toBe(true);
        const chunks = [...had, ...after.chunks];
        for (const name of ['stdout', 'stderr'] as const) {
          const raw = all.flatMap(([stream, some]) => (stream === name ? [some] : [])).join('');
          const truth = raw.replaceAll('sss', '*');
          expect(joined(chunks, name).toString()).toBe(truth);
          const hash = createHash('sha256').update(truth).digest('hex');
          expect(sum.sha256[name]).toBe(truth === '' ? undefined : hash);
          const ends = chunks.filter(({ stream }) => stream === name).map(({ rawEnd }) => rawEnd);
          expect(ends).toEqual(ends.toSorted((a, b) => a - b));
          expect(ends.at(-1) ?? 0).toBe(raw.length);
        }
      }),
      { numRuns: 300 },
    );
  });
});
