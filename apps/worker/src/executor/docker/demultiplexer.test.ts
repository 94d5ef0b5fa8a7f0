import { describe, expect, it } from '@jest/globals';
import { Demultiplexer } from './demultiplexer.js';

function frame(stream: number, bytes: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

const input = Buffer.concat([
  frame(1, Buffer.from([0, 255, 10])),
  frame(2, Buffer.from('err')),
  frame(1, Buffer.alloc(0)),
  frame(1, Buffer.from('no newline')),
]);

describe('Demultiplexer', () => {
  it('gives the same bytes however the input is cut', () => {
    for (let size = 1; size <= input.length; size++) {
      const demux = new Demultiplexer();
      const out = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
      for (let at = 0; at < input.length; at += size) {
        for (const { stream, bytes } of demux.push(input.subarray(at, at + size))) {
          out[stream].push(bytes);
        }
      }
      expect(Buffer.concat(out.stdout)).toEqual(
        Buffer.concat([Buffer.from([0, 255, 10]), Buffer.from('no newline')]),
      );
      expect(Buffer.concat(out.stderr).toString()).toBe('err');
      expect(demux.torn).toBe(false);
    }
  });

  it('knows that the input ended within a frame', () => {
    const demux = new Demultiplexer();
    demux.push(input.subarray(0, input.length - 1));
    expect(demux.torn).toBe(true);
  });

  it('refuses what is no frame', () => {
    expect(() => new Demultiplexer().push(Buffer.from('HTTP/1.1 500'))).toThrow(/no frame/);
  });
});
