/** Who attacks, and what the farm beside which it happens must have for that. */
import type { Farm } from '../farm.js';

export const ATTACK_KINDS = ['reader'] as const;
export type AttackKind = (typeof ATTACK_KINDS)[number];

interface Prepared {
  /** For the attack's process, beside `url`, `token` (scope `read`), `seconds` and `seed`. */
  argument: object;
  end(): Promise<void>;
}

interface Attack {
  /** More builders of the farm file. */
  builders(seed: number): Record<string, object>;
  /** Those that are requested again and again while it lasts. */
  builds(seed: number): string[];
  prepare(farm: Farm, seed: number): Promise<Prepared>;
}

/** A log of some MiB and many artifacts, for those who read. */
const LARGE = {
  image: 'busybox:1.37',
  steps: [
    { name: 'write', run: 'yes "a line of some length, a line of some length" | head -c 20000000' },
    {
      name: 'files',
      run: 'mkdir out; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i > out/$i; done',
    },
  ],
  artifacts: ['out/**'],
};

export const ATTACKS: Record<AttackKind, Attack> = {
  reader: {
    builders: () => ({ large: LARGE }),
    builds: () => [],
    prepare: async (farm) => {
      const { id } = await farm.request('large');
      const build = await farm.untilBuild(id);
      return { argument: { build: build.id }, end: () => Promise.resolve() };
    },
  },
};
