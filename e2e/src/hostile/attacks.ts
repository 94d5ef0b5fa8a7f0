/** Who attacks, and what the farm beside which it happens must have for that. */
import type { NewRegistrationToken, WorkerCredential } from '@impgem/client';
import type { Farm } from '../farm.js';
import { hostileRepository } from './repository.js';

export const ATTACK_KINDS = ['reader', 'worker', 'repository'] as const;
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

/** Builds that only the hostile worker takes. */
const HOSTILE = 'hostile';
const BAIT = {
  labels: [HOSTILE],
  timeout: '1m',
  steps: [
    { name: 'one', run: 'true' },
    { name: 'two', run: 'true' },
  ],
};

export const ATTACKS: Record<AttackKind, Attack> = {
  worker: {
    builders: () => ({ bait: BAIT }),
    builds: () => ['bait'],
    prepare: async (farm) => {
      const labels = [HOSTILE];
      const made = await farm.api<NewRegistrationToken>('POST', '/registration-tokens', { labels });
      const wish = { name: HOSTILE, labels };
      const registered = farm.api<WorkerCredential>('POST', '/workers/register', wish, made.token);
      const { token: credential } = await registered;
      return { argument: { credential, labels }, end: () => Promise.resolve() };
    },
  },
  // Its builds are what attacks.
  repository: {
    builders: (seed) => hostileRepository(seed).builders,
    builds: (seed) => Object.keys(hostileRepository(seed).builders),
    prepare: async () => ({ argument: {}, end: () => Promise.resolve() }),
  },
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
