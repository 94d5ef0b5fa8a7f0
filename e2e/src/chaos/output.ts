/**
 * What the steps of a chaotic build write, as a function of a seed: a list of operations that is rendered twice, into
 * a shell script that a container runs, and, without the farm, into the bytes that must come out of it.
 *
 * A step reads its bytes from the file `noise`, which the build checks out: random bytes, NUL and invalid UTF-8 among
 * them, that no text-minded code on the way leaves as they are.
 */
import { createHash, type Hash } from 'node:crypto';
import { Chance } from '../sim/chance.js';

export const STREAMS = ['stdout', 'stderr'] as const;
export type Stream = (typeof STREAMS)[number];

/** How much a build writes. */
export interface Amount {
  noiseBytes: number;
  /** Bursts of each step, and the pause between two. */
  bursts: number;
  pauseS: number;
  /** The most of one burst on stdout; stderr gets a quarter. */
  burstBytes: number;
  /** A line without an end to it, in one of the steps. */
  lineBytes: number;
  artifactBytes: number;
}

const MIB = 1024 * 1024;

/** Bursts of 5 MB/s: 1 to 2 MiB, then a third of a second. */
export const FULL: Amount = {
  noiseBytes: 6 * MIB,
  bursts: 10,
  pauseS: 0.33,
  burstBytes: 2 * MIB,
  lineBytes: 50_000_000,
  artifactBytes: 4 * MIB,
};

/** For `npm test`: the same shape, with little to carry. */
export const SMALL: Amount = {
  noiseBytes: MIB,
  bursts: 8,
  pauseS: 0.2,
  burstBytes: 256 * 1024,
  lineBytes: 2_000_000,
  artifactBytes: MIB,
};

/** `dd` counts in these. */
const BLOCK = 4096;

type Operation =
  | { op: 'noise'; stream: Stream; block: number; blocks: number }
  | { op: 'text'; stream: Stream; text: string }
  | { op: 'line'; bytes: number }
  | { op: 'keep'; block: number; blocks: number }
  | { op: 'pause'; seconds: number };

export interface Digest {
  bytes: number;
  sha256: string;
}

/** One step: what it runs, and what must come out. */
export class StepOutput {
  constructor(
    readonly name: string,
    private readonly noise: Buffer,
    private readonly operations: readonly Operation[],
  ) {}

  /** For `sh -e`; busybox has all of it. */
  get script(): string {
    return `${this.operations.map(shell).join('\n')}\n`;
  }

  /** Of all streams together. */
  get bytes(): number {
    return STREAMS.reduce((sum, stream) => sum + this.#length(stream), 0);
  }

  /** What the stream must be; or, given a length, its beginning. */
  expected(stream: Stream, length = Number.POSITIVE_INFINITY): Digest {
    const hash = createHash('sha256');
    let left = length;
    for (const piece of this.#pieces(stream)) {
      if (left <= 0) break;
      left -= take(hash, piece, left);
    }
    return {
      bytes: length === Number.POSITIVE_INFINITY ? this.#length(stream) : length - left,
      sha256: hash.digest('hex'),
    };
  }

  #length(stream: Stream): number {
    let bytes = 0;
    for (const piece of this.#pieces(stream)) bytes += piece.length;
    return bytes;
  }

  *#pieces(stream: Stream): Generator<Buffer> {
    for (const one of this.operations) {
      if (one.op === 'line' && stream === 'stdout') yield Buffer.alloc(one.bytes, 'x');
      if ((one.op !== 'noise' && one.op !== 'text') || one.stream !== stream) continue;
      if (one.op === 'text') yield Buffer.from(one.text);
      else yield this.noise.subarray(one.block * BLOCK, (one.block + one.blocks) * BLOCK);
    }
  }
}

function take(hash: Hash, piece: Buffer, most: number): number {
  const part = piece.subarray(0, Math.min(piece.length, most));
  hash.update(part);
  return part.length;
}

function shell(one: Operation): string {
  switch (one.op) {
    case 'noise':
      return `${noiseOf(one)}${one.stream === 'stderr' ? ' >&2' : ''} 2>/dev/null`;
    case 'text':
      return `printf %s '${one.text}'${one.stream === 'stderr' ? ' >&2' : ''}`;
    case 'line':
      return `head -c ${one.bytes} /dev/zero | tr '\\0' x`;
    case 'keep':
      return `${noiseOf(one)} >${ARTIFACT} 2>/dev/null`;
    case 'pause':
      return `sleep ${one.seconds}`;
  }
}

const noiseOf = ({ block, blocks }: { block: number; blocks: number }) =>
  `dd if=noise bs=${BLOCK} skip=${block} count=${blocks}`;

export const ARTIFACT = 'kept.bin';

/** A build: a repository with its noise and scripts, and the truth about its output. */
export interface ChaoticBuild {
  files: Record<string, string | Buffer>;
  steps: StepOutput[];
  artifact: Digest;
}

export function chaoticBuild(seed: number, amount: Amount, withLine: boolean): ChaoticBuild {
  const chance = new Chance(seed);
  const noise = noiseFrom(chance, amount.noiseBytes);
  const kept = slice(chance, amount, amount.artifactBytes);
  const lineIn = withLine ? chance.int(0, NAMES.length - 1) : -1;
  const steps = NAMES.map((name, index) => {
    const line = index === lineIn ? chance.int(1, amount.bursts - 2) : -1;
    const operations = bursts(chance, amount, name, line);
    if (index === NAMES.length - 1) operations.splice(1, 0, { op: 'keep', ...kept });
    return new StepOutput(name, noise, operations);
  });
  const files: ChaoticBuild['files'] = { noise };
  for (const step of steps) files[`${step.name}.sh`] = step.script;
  const bytes = noise.subarray(kept.block * BLOCK, (kept.block + kept.blocks) * BLOCK);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { files, steps, artifact: { bytes: bytes.length, sha256 } };
}

const NAMES = ['first', 'second', 'third'];
export const STEPS = NAMES.length;

/** Bursts on both streams with pauses; the last words of both have no newline. */
function bursts(chance: Chance, amount: Amount, name: string, line: number): Operation[] {
  const all: Operation[] = [{ op: 'text', stream: 'stdout', text: `${name} begins\n` }];
  for (let burst = 0; burst < amount.bursts; burst++) {
    if (burst === line) all.push({ op: 'line', bytes: amount.lineBytes });
    const big = chance.between(amount.burstBytes / 2, amount.burstBytes);
    all.push({ op: 'noise', stream: 'stdout', ...slice(chance, amount, big) });
    all.push({ op: 'noise', stream: 'stderr', ...slice(chance, amount, big / 4) });
    all.push({ op: 'text', stream: chance.pick(STREAMS), text: `burst ${burst} is over\r\n` });
    all.push({ op: 'pause', seconds: amount.pauseS });
  }
  for (const stream of STREAMS) all.push({ op: 'text', stream, text: `${name} ends in ${stream}` });
  return all;
}

function slice(chance: Chance, { noiseBytes }: Amount, bytes: number) {
  const blocks = Math.max(1, Math.floor(bytes / BLOCK));
  return { block: chance.int(0, Math.floor(noiseBytes / BLOCK) - blocks), blocks };
}

/** Random bytes: of 256, one is NUL, and hardly any stretch is valid UTF-8. */
function noiseFrom(chance: Chance, bytes: number): Buffer {
  const noise = Buffer.allocUnsafe(bytes);
  for (let at = 0; at < bytes; at += 4) noise.writeUInt32LE(chance.int(0, 0xffff_ffff), at);
  return noise;
}
