import { expect, it } from '@jest/globals';
import { quarantineText } from './quarantine-text.js';

it('says until when a worker is given nothing, why, and what comes then', () => {
  const reason = { code: 'engine-error', message: 'no engine' };
  const quarantine = { until: '2030-01-02T03:04:05.678Z', strikes: 3, reason };
  expect(quarantineText(quarantine, Date.parse('2030-01-02T03:04:00Z'))).toBe(
    'is given no builds until 2030-01-02 03:04:05 UTC, after 3 builds in a row that it spoiled or lost; the last one: no engine',
  );
  expect(
    quarantineText({ ...quarantine, reason: null }, Date.parse('2030-01-02T03:05:00Z')),
  ).toMatch(/^is given one build at a time until one ends well, after 3 builds .* lost$/);
});
