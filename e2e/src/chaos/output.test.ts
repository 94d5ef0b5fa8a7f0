import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { ARTIFACT, chaoticBuild, SMALL, STREAMS } from './output.js';

const AMOUNT = {
  ...SMALL,
  noiseBytes: 512 * 1024,
  artifactBytes: 256 * 1024,
  bursts: 4,
  pauseS: 0,
};
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('the output of a chaotic build', () => {
  it('is what its scripts write', async () => {
    const { files, steps, artifact } = chaoticBuild(7, AMOUNT, true);
    const dir = await mkdtemp(join(tmpdir(), 'impgem-chaos-'));
    try {
      for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
      for (const step of steps) {
        const ran = spawnSync('sh', ['-e', `${step.name}.sh`], { cwd: dir, maxBuffer: 1e9 });
        expect(ran.status).toBe(0);
        for (const stream of STREAMS) {
          const bytes = ran[stream];
          expect(step.expected(stream)).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
          const begun = bytes.subarray(0, 100_001);
          expect(step.expected(stream, 100_001).sha256).toBe(sha256(begun));
        }
      }
      const kept = await readFile(join(dir, ARTIFACT));
      expect(artifact).toEqual({ bytes: kept.length, sha256: sha256(kept) });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  it('is horrible, and the same for the same seed', () => {
    const { files, steps } = chaoticBuild(8, AMOUNT, true);
    const noise = files['noise'] as Buffer;
    expect(noise.includes(0)).toBe(true);
    expect(Buffer.from(noise.toString()).equals(noise)).toBe(false);
    const again = chaoticBuild(8, AMOUNT, true);
    for (const [index, step] of steps.entries())
      for (const stream of STREAMS)
        expect(again.steps[index]?.expected(stream)).toEqual(step.expected(stream));
    const other = chaoticBuild(9, AMOUNT, true).files['noise'] as Buffer;
    expect(other.equals(noise)).toBe(false);
  });

  it('does not tell a beginning that is longer than all there is', () => {
    const [step] = chaoticBuild(8, AMOUNT, false).steps;
    const whole = step?.expected('stderr');
    expect(step?.expected('stderr', (whole?.bytes ?? 0) + 1)).toEqual(whole);
  });
});
