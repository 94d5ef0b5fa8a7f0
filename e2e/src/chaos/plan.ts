import { Chance } from '../sim/chance.js';
import { ALL_KINDS, FAULTS, type Kind } from './faults.js';

/** One fault of a round: in which step at the earliest, and after which share of its output. */
export interface Blow {
  kind: Kind;
  step: number;
  share: number;
}

export interface Plan {
  seed: number;
  blows: Blow[];
  lostAfterS: number;
  database: 'embedded' | 'own';
  /** One step writes a line of 50 MB. */
  withLine: boolean;
}

export interface Choice {
  root: boolean;
  /** This kind only. */
  only?: Kind;
  steps: number;
}

const USUAL_LOST_AFTER_S = 90;

const alone = (kind: Kind): boolean => FAULTS[kind].lostAfterS !== undefined;

/**
 * The faults of a round: kinds take turns, and where they bear company a second one follows in a later step. The first
 * of two comes in the first step, since the build goes on writing while it lasts, and must not be through by its end.
 */
export function planRound(seed: number, { root, only, steps }: Choice): Plan {
  const chance = new Chance(seed);
  const kinds = ALL_KINDS.filter(
    (kind) => (root || !FAULTS[kind].root) && (!only || kind === only),
  );
  const mild = kinds.filter((kind) => !alone(kind) && !FAULTS[kind].spoils);
  // the others never come second, so they come first more often
  const turns = [...kinds, ...kinds.filter((kind) => !mild.includes(kind))];
  const first = turns[seed % turns.length] as Kind;
  const others = mild.filter((kind) => kind !== first || kind === only);
  const second = alone(first) ? undefined : others[seed % others.length];
  const share = (): number => chance.between(0.05, 0.5);
  const at = second ? 0 : chance.int(0, steps - 1);
  const blows: Blow[] = [{ kind: first, step: at, share: share() }];
  if (second) blows.push({ kind: second, step: chance.int(at + 1, steps - 1), share: share() });
  const own = blows.some(({ kind }) => FAULTS[kind].database === 'own') || chance.odds(0.3);
  return {
    seed,
    blows,
    lostAfterS: FAULTS[first].lostAfterS ?? USUAL_LOST_AFTER_S,
    database: own ? 'own' : 'embedded',
    withLine: chance.odds(0.6),
  };
}
