import { describe, expect, it } from '@jest/globals';
import { decodeFrame, HEADER_BYTES, type ArtifactDone, type ArtifactFrame } from '@impgem/protocol';
import * as fc from 'fast-check';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { Uploads } from './uploads.js';

const ATTEMPT = { build: 7, epoch: 2 };
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** A master that has `has` bytes of whatever comes, and takes the rest in order. */
class Master {
  readonly uploads = new Uploads();
  readonly frames: ArtifactFrame[] = [];
  done: ArtifactDone | undefined;

  constructor(has: number, frameBytes: number, artifactWindowBytes: number) {
    this.uploads.online({
      limits: { frameBytes, windowBytes: 1 << 20, artifactWindowBytes },
      gone: new AbortController().signal,
      send: (message) => {
        const { build, epoch, artifact } = message;
        if (message.type === 'artifact.done') this.done = message;
        const answer =
          message.type === 'artifact.offer'
            ? ({ type: 'artifact.accept', offset: has } as const)
            : ({ type: 'artifact.stored' } as const);
        queueMicrotask(() => this.uploads.answer({ build, epoch, artifact, ...answer }));
      },
      block: async (bytes) => {
        // The buffer may be used again: what is kept is a copy.
        const frame = decodeFrame(Buffer.from(bytes)) as ArtifactFrame;
        this.frames.push(frame);
        const { build, epoch, artifact, offset, payload } = frame;
        const end = offset + payload.length;
        setImmediate(() =>
          this.uploads.answer({ type: 'artifact.ack', build, epoch, artifact, offset: end }),
        );
      },
    });
  }

  send(pieces: readonly Uint8Array[], size: number): Promise<void> {
    const file = { path: 'a', size, mode: 0o644, open: async () => Readable.from(pieces) };
    return this.uploads.send(ATTEMPT, 3, file, new AbortController().signal);
  }
}

describe('Uploads', () => {
  it('sends what the master lacks, in frames that fit, whatever pieces a file comes in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 900 }), { maxLength: 8 }),
        fc.nat(),
        fc.integer({ min: HEADER_BYTES + 1, max: 700 }),
        fc.integer({ min: 1, max: 700 }),
        async (pieces, share, frameBytes, window) => {
          const whole = Buffer.concat(pieces);
          const has = share % (whole.length + 1);
          const master = new Master(has, frameBytes, window);
          await master.send(pieces, whole.length);
          let at = has;
          for (const { build, epoch, artifact, offset, payload } of master.frames) {
            expect({ build, epoch, artifact, offset }).toEqual({
              ...ATTEMPT,
              artifact: 3,
              offset: at,
            });
            expect(payload.length).toBeLessThanOrEqual(Math.min(frameBytes - HEADER_BYTES, window));
            expect(whole.subarray(at, at + payload.length).equals(payload)).toBe(true);
            at += payload.length;
          }
          expect(at).toBe(whole.length);
          expect(master.done).toMatchObject({ size: whole.length, sha256: sha256(whole) });
        },
      ),
    );
  });

  it.each([
    ['grew', 99],
    ['shrank', 101],
  ])('does not send the end of a file that %s while it was read', async (_, size) => {
    const master = new Master(0, 1 << 20, 1 << 20);
    const sent = master.send([Buffer.alloc(60), Buffer.alloc(40)], size);
    await expect(sent).rejects.toThrow('it changed while it was read');
    expect(master.done).toBeUndefined();
  });
});
