import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { decodeFrame, encodeFrame, FrameError, HEADER_BYTES, STREAMS } from './data-frames.js';

const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const u64 = fc.nat(Number.MAX_SAFE_INTEGER);
const log = fc.record({
  kind: fc.constant('log' as const),
  build: u64,
  epoch: u32,
  seq: u32,
  step: u16,
  stream: fc.constantFrom(...STREAMS),
  offset: u64,
  length: u32,
  crc32: u32,
  atMs: u32,
  payload: fc.uint8Array(),
});
const artifact = fc.record({
  kind: fc.constant('artifact' as const),
  build: u64,
  epoch: u32,
  artifact: u16,
  offset: u64,
  payload: fc.uint8Array(),
});

describe('data frames', () => {
  it('give back what they were given, wherever they lie in a buffer', () => {
    fc.assert(
      fc.property(fc.oneof(log, artifact), fc.nat(9), (frame, shift) => {
        const bytes = encodeFrame(frame);
        const wide = new Uint8Array(bytes.length + shift);
        wide.set(bytes, shift);
        expect(decodeFrame(wide.subarray(shift))).toEqual(frame);
      }),
    );
  });

  it('throw nothing but FrameError, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2 * HEADER_BYTES }), (bytes) => {
        try {
          decodeFrame(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('say what is wrong', () => {
    expect(() => decodeFrame(new Uint8Array(3))).toThrow('at least 40 bytes');
    expect(() => decodeFrame(new Uint8Array(40))).toThrow('unknown kind 0');
    expect(() => decodeFrame(Uint8Array.from({ length: 40 }, () => 255))).toThrow('too big');
  });
});
