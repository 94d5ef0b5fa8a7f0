import type { ReasonCode, StreamName } from '@impgem/protocol';
import type { Chance } from './chance.js';
import type { World } from './world.js';

/** What a step does, drawn at random: writes at its times, then ends. Times are in milliseconds from its start. */
export interface StepScript {
  writes: { at: number; stream: Exclude<StreamName, 'system'>; bytes: number }[];
  endsAt: number;
  exit: number;
  /** What the engine does to it instead of an exit; an endless one runs on, and nothing but its master ends it. */
  trouble?: ReasonCode | 'endless' | undefined;
  /** The first attempts that exit and trouble befall; in later ones all goes well. */
  attempts: number;
}

export interface BuildScript {
  steps: StepScript[];
}

/** One step's container: it runs without its worker, and its output stays until it is removed. */
export interface Container {
  readonly startedAt: number;
  readonly script: StepScript;
  /** When it ended, or will; a kill moves it ahead. */
  endsAt: number;
  killed: boolean;
  removed: boolean;
}

/** What a step has written so far: the truth that its log is compared with. */
export interface Written {
  stream: Exclude<StreamName, 'system'>;
  bytes: Buffer;
}

export const containerKey = (attempt: { build: number; epoch: number }, step: number): string =>
  `${attempt.build}-${attempt.epoch}-${step}`;

/** The container engine of one machine. Nothing in it is forgotten, so that logs can be checked at the end. */
export class Engine {
  readonly #containers = new Map<string, Container>();

  constructor(private readonly world: World) {}

  start(key: string, script: StepScript): Container {
    const { now } = this.world;
    const container = {
      startedAt: now,
      script,
      endsAt: now + (script.trouble === 'endless' ? ENDLESS_MS : script.endsAt),
      killed: false,
      removed: false,
    };
    this.#containers.set(key, container);
    return container;
  }

  /** Also of removed ones; absent when there never was one. */
  find(key: string): Container | undefined {
    return this.#containers.get(key);
  }

  kill(container: Container, graceMs: number): void {
    const ends = this.world.now + graceMs;
    if (ends >= container.endsAt) return;
    container.endsAt = ends;
    container.killed = true;
  }

  remove(key: string): void {
    const container = this.#containers.get(key);
    if (!container) return;
    this.kill(container, 0);
    container.removed = true;
  }

  /** Keys of the containers that are there. */
  list(): string[] {
    return [...this.#containers].flatMap(([key, { removed }]) => (removed ? [] : [key]));
  }
}

/** All that a container has written until `until`, in its order. */
export function writtenBy(
  key: string,
  { script, startedAt, endsAt }: Container,
  until: number,
): Written[] {
  const end = Math.min(until, endsAt) - startedAt;
  return script.writes
    .filter(({ at }) => at <= end)
    .map(({ stream, bytes }, index) => ({ stream, bytes: contentOf(key, stream, index, bytes) }));
}

/** Bytes that tell where they come from, so that no piece can pass for another. */
function contentOf(key: string, stream: string, index: number, length: number): Buffer {
  const mark = `${key} ${stream} ${index} `;
  return Buffer.from(mark.repeat(Math.ceil(length / mark.length)).slice(0, length), 'latin1');
}

export function drawBuild(chance: Chance): BuildScript {
  const steps = Array.from({ length: chance.int(1, 3) }, (): StepScript => {
    const endsAt = chance.between(0, chance.pick([500, 40_000, 40_000, 200_000]));
    const writes = Array.from({ length: chance.int(0, 10) }, () => ({
      at: chance.between(0, endsAt),
      stream: chance.pick(['stdout', 'stderr'] as const),
      bytes: chance.odds(0.1) ? chance.int(200, 1500) : chance.int(1, 120),
    })).sort((a, b) => a.at - b.at);
    const exit = chance.odds(0.1) ? 1 : 0;
    const trouble = chance.odds(0.05) ? chance.pick(TROUBLES) : undefined;
    return { writes, endsAt, exit, trouble, attempts: chance.pick([1, 1, 2, 3, Infinity]) };
  });
  return { steps };
}

const TROUBLES = ['engine-unavailable', 'engine-error', 'worker-error', 'endless'] as const;
/** Longer than any run lasts. */
const ENDLESS_MS = 30 * 86_400_000;

export const isEndless = ({ steps }: BuildScript): boolean =>
  steps.some(({ trouble }) => trouble === 'endless');

/** What the steps do in one attempt, the first of which is 1. */
export function scriptOf({ steps }: BuildScript, attempt: number): BuildScript {
  return {
    steps: steps.map((step) =>
      attempt > step.attempts ? { ...step, exit: 0, trouble: undefined } : step,
    ),
  };
}
