import { describe, expect, it } from '@jest/globals';
import type { Kind } from './faults.js';
import { Totals } from './report.js';
import type { RoundReport } from './round.js';

const report = (kinds: [Kind, boolean][], more: Partial<RoundReport> = {}): RoundReport => ({
  plan: { seed: 1, blows: [], lostAfterS: 90, database: 'own', withLine: true },
  hits: kinds.map(([kind, writing]) => ({ kind, writing })),
  attempts: 1,
  bytes: 1_234_567,
  leaks: [],
  problems: [],
  seconds: 90,
  course: [],
  ...more,
});
const rounds = [
  report([
    ['worker killed', true],
    ['partition', false],
  ]),
  report([['engine killed', true]], { attempts: 2 }),
  report([['worker killed', true]], { leaks: ['a volume'], problems: ['a volume'] }),
  report([['partition', true]]),
];
const page = (paragraphs: string[]) =>
  ['<!-- chaos: by `this` -->', ...paragraphs, '<!-- end -->'].join('\n\n');

describe('the totals of chaos', () => {
  it('count faults, hits and leaks by kind', () => {
    const totals = new Totals();
    for (const one of rounds) totals.add(one);
    const [said, table] = totals.said(['`a`']);
    expect(said).toBe('`a`, in 6 minutes: 3 rounds passed, 1 failed.');
    expect(table).toMatch(/^\| worker killed +\| +2 \| +2 of 2 \| +2 \| +2,469,134 \| +1 \|$/m);
    expect(table).toMatch(/^\| partition +\| +2 \| +1 of 2 \|/m);
    expect(table).toMatch(/^\| all +\| +4 \| +4 of 5 \| +5 \| +4,938,268 \| +1 \|$/m);
  });

  it('add up to the same when the page told of some rounds before', () => {
    const whole = new Totals();
    for (const one of rounds) whole.add(one);
    const before = new Totals();
    for (const one of rounds.slice(0, 2)) before.add(one);
    const after = new Totals();
    for (const one of rounds.slice(2)) after.add(one);
    const commands = after.addSaid(page(before.said(['`first`', '`second`'])));
    expect(commands).toEqual(['`first`', '`second`']);
    expect(after.said(['`x`'])).toEqual(whole.said(['`x`']));
  });

  it('are their own where the page tells of none', () => {
    const totals = new Totals();
    expect(totals.addSaid(page([]))).toBeUndefined();
    expect(totals.summary).toBe('0 rounds passed, 0 failed');
  });
});
