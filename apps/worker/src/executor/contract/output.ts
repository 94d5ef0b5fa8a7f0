/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { OutputSink } from '../executor.js';
import { Audience } from './stage.js';
import type { Stage } from './stage.js';

const MIB = 1024 * 1024;
/** A slow sink may cost this much memory, whatever the step writes. */
const FLAT = 64 * MIB;

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

const lines = (word: string): string =>
  Array.from({ length: 50 }, (_, index) => `${word} ${index + 1}\n`).join('');

/** Output: every byte, in order, before the exit, at the sink's pace. */
export function describeOutput(stage: Stage): void {
  const { dialect, readersWaitMs } = stage.subject;

  describe('output', () => {
    it('is whole before the exit, when 10 MB are written and the step exits at once', async () => {
      const { run, bytes } = dialect.write(10_000_000);
      const { exit, stdout } = await stage.play(run);
      expect(exit).toEqual({ exitCode: 0 });
      expect(stdout.length).toBe(bytes.length);
      expect(sha256(stdout)).toBe(sha256(bytes));
    });

    it.each([
      ['no newline at the end', Buffer.from('no newline')],
      ['invalid UTF-8 and NUL', Buffer.from([0xff, 0xfe, 0, 0x61, 0xc3, 0x28, 0x0a, 0])],
      ['only newlines', Buffer.from('\n\n\n')],
    ])('is passed on as it is: %s', async (_, bytes) => {
      const { stdout } = await stage.play(dialect.print(bytes));
      expect(stdout.toString('hex')).toBe(bytes.toString('hex'));
    });

    it('keeps both streams apart and each in order', async () => {
      const { stdout, stderr } = await stage.play(dialect.bothStreams(50));
      expect(stdout.toString()).toBe(lines('out'));
      expect(stderr.toString()).toBe(lines('err'));
    });

    const { reopened } = dialect;
    if (reopened) {
      it.each(reopened().map((one) => [one.run, one] as const))(
        'is whole when the step opens it again: %s',
        async (_, { run, stdout, stderr }) => {
          const played = await stage.play(run);
          expect(played.stdout.toString()).toBe(stdout);
          expect(played.stderr.toString()).toBe(stderr);
          expect(played.exit).toEqual({ exitCode: 0 });
        },
      );
    }

    it('has both streams as one, in exact order, when they are merged', async () => {
      const { stdout, stderr } = await stage.play(dialect.bothStreams(300), { merged: true });
      const both = Array.from({ length: 300 }, (_, n) => `out ${n + 1}\nerr ${n + 1}\n`).join('');
      expect(stdout.toString()).toBe(both);
      expect(stderr.toString()).toBe('');
    });

    it('waits for a slow sink, loses nothing and needs no more memory', async () => {
      const { run, bytes } = dialect.write(48 * MIB);
      const expected = sha256(bytes);
      const hash = createHash('sha256');
      const before = process.memoryUsage().arrayBuffers;
      let peak = 0;
      let calls = 0;
      const sink: OutputSink = async (stream, chunk) => {
        if (stream !== 'stdout') return;
        // slow enough for all buffers to fill
        if (calls++ % 100 === 0) await delay(calls === 1 ? readersWaitMs : 20);
        hash.update(chunk);
        peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
      };
      const step = await stage.start(await stage.workspace(), stage.spec(run), sink);
      expect(await step.exited).toEqual({ exitCode: 0 });
      expect(hash.digest('hex')).toBe(expected);
      expect(peak).toBeLessThan(FLAT);
    });

    it('waits for a slow sink also when the step ended long ago', async () => {
      const { run, bytes } = dialect.write(200_000);
      const audience = new Audience();
      let first = true;
      const step = await stage.start(await stage.workspace(), stage.spec(run), async (...args) => {
        if (first) await delay(readersWaitMs);
        first = false;
        await audience.sink(...args);
      });
      expect(await step.exited).toEqual({ exitCode: 0 });
      expect(sha256(audience.stdout)).toBe(sha256(bytes));
    });

    it('ends with the step, whatever children it leaves', async () => {
      const audience = new Audience();
      const step = await stage.start(
        await stage.workspace(),
        stage.spec(dialect.leaveChild()),
        audience.sink,
      );
      expect(await step.exited).toEqual({ exitCode: 0 });
      const { calls } = audience;
      expect(audience.stdout.toString()).toBe('main\n');
      await delay(500);
      expect(audience.calls).toBe(calls);
    });

    it('that cannot be taken ends the step with a reason', async () => {
      const { run } = dialect.write(100_000);
      const step = await stage.start(await stage.workspace(), stage.spec(run), (stream) => {
        if (stream === 'stdout') throw new Error('disk full');
      });
      const { reason } = await step.exited;
      expect(reason).toMatchObject({
        code: 'worker-error',
        message: expect.stringContaining('disk full'),
      });
    });
  });
}
