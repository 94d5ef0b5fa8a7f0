import { createHash, randomBytes } from 'node:crypto';
import type { Attempt, Identity } from '../executor.js';

/** What an object of the engine is for. */
export type Role = 'holder' | 'network' | 'helper' | 'step' | 'files' | 'workspace';

/** Nobody can still need an object after this, in milliseconds from its making; for `impgem workers prune`. */
const LIFETIME_MS = { build: 2 * 24 * 3600_000, worker: 90 * 24 * 3600_000 };

/**
 * The labels that every object of the engine carries: whose it is, what for, until when (Unix seconds).
 * Sweeps go by them, so an object without them would be leaked for good.
 */
export function labelsOf(
  identity: Identity,
  role: Role,
  attempt?: Attempt,
  now: number = Date.now(),
): Record<string, string> {
  const expires = now + (attempt ? LIFETIME_MS.build : LIFETIME_MS.worker);
  return {
    'impgem.farm': identity.farm,
    'impgem.worker': identity.worker,
    'impgem.role': role,
    'impgem.expires': String(Math.floor(expires / 1000)),
    ...(attempt && {
      'impgem.build': String(attempt.build),
      'impgem.epoch': String(attempt.epoch),
    }),
  };
}

/** The engine's filter for objects of one identity, and of one attempt if given, and of nobody else. */
export function ownFilter(identity: Identity, attempt?: Attempt): { label: string[] } {
  const label = [`impgem.farm=${identity.farm}`, `impgem.worker=${identity.worker}`];
  if (attempt) label.push(`impgem.build=${attempt.build}`, `impgem.epoch=${attempt.epoch}`);
  return { label };
}

export function roleOf(labels: Record<string, string> | undefined | null): string | undefined {
  return labels?.['impgem.role'];
}

/** A name that tells people what it is, and is never used twice. */
export function nameOf(identity: Identity, role: Role, attempt?: Attempt): string {
  const whose = createHash('sha256').update(`${identity.farm}/${identity.worker}`).digest('hex');
  const build = attempt ? `-${attempt.build}-${attempt.epoch}` : '';
  return `impgem-${whose.slice(0, 8)}-${role}${build}-${randomBytes(4).toString('hex')}`;
}

/** The attempt that an object belongs to, if to one. */
export function attemptOf(labels: Record<string, string> | undefined | null): Attempt | undefined {
  const build = Number(labels?.['impgem.build']);
  const epoch = Number(labels?.['impgem.epoch']);
  return Number.isInteger(build) && Number.isInteger(epoch) ? { build, epoch } : undefined;
}
