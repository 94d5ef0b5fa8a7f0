import type { Step } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { chosenStep } from './chosen-step.js';

const step = (index: number, rest: Partial<Step> = {}): Step => ({
  index,
  name: `step ${index}`,
  kind: 'run',
  state: 'finished',
  result: 'success',
  reason: null,
  exitCode: 0,
  startedAt: null,
  finishedAt: null,
  log: { bytes: 0, lines: 0, finished: true, removed: false, sha256: null },
  ...rest,
});
const checkout = step(0, { kind: 'checkout' });
const collect = step(3, { kind: 'artifacts' });

it('shows the step that was asked for', () => {
  expect(chosenStep([checkout, step(1), step(2)], 1)?.index).toBe(1);
});

it('shows the running step while the build runs, also when an unknown one was asked for', () => {
  const steps = [checkout, step(1, { state: 'running', result: null })];
  expect(chosenStep(steps, undefined)?.index).toBe(1);
  expect(chosenStep(steps, 99)?.index).toBe(1);
});

it('shows the step that failed, not those that were skipped after it', () => {
  const steps = [checkout, step(1, { result: 'failure' }), step(2, { result: 'skipped' })];
  expect(chosenStep(steps, undefined)?.index).toBe(1);
});

it('shows the last command of a build that went well', () => {
  expect(chosenStep([checkout, step(1), step(2), collect], undefined)?.index).toBe(2);
});

it('shows the first step before anything began, and nothing where there are no steps', () => {
  const pending = { state: 'pending', result: null } as const;
  expect(chosenStep([step(0, pending), step(1, pending)], undefined)?.index).toBe(0);
  expect(chosenStep([], undefined)).toBeUndefined();
});
