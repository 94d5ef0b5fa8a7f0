import { describe, expect, it } from '@jest/globals';
import { readFarmFile } from './read-farm-file.js';

const DAY = 86_400_000;
const step = 'steps: [{ name: s, run: make }]';
const read = (farm: string, own: string) =>
  readFarmFile(`${farm}\nbuilders:\n  b:\n    ${own}\n    ${step}\n`);
const retention = (farm: string, own: string) => {
  const { farm: read_, problems } = read(farm, own);
  expect(problems).toEqual([]);
  return read_?.builders.get('b')?.retention;
};

describe('retention in the farm file', () => {
  it('keeps everything unless it says so', () => {
    expect(retention('', '')).toBeUndefined();
    expect(retention('retention: { keep: 5 }', '')).toBeUndefined();
  });

  it('is what the builder says, and the file says what it leaves out', () => {
    const farm = 'retention: { builds: 90d, logs: 30d, keep: 20 }';
    expect(retention(farm, '')).toEqual({ buildsMs: 90 * DAY, logsMs: 30 * DAY, keep: 20 });
    expect(retention(farm, 'retention: { logs: forever, artifacts: 12h, keep: 0 }')).toEqual({
      buildsMs: 90 * DAY,
      artifactsMs: DAY / 2,
      keep: 0,
    });
  });

  it('keeps the newest build of a builder whole when nobody says how many', () => {
    expect(retention('', 'retention: { artifacts: 7d }')).toEqual({
      artifactsMs: 7 * DAY,
      keep: 1,
    });
  });

  it.each([
    ['', 'retention: { builds: 30m }', 'builders.b.retention.builds: everything is kept for 1h'],
    ['', 'retention: { logs: 4000d }', 'builders.b.retention.logs: no age is longer than 3650d'],
    ['', 'retention: { logs: 2 weeks }', 'builders.b.retention.logs: "2 weeks" is no age; write'],
    ['', 'retention: { keep: -1 }', 'builders.b.retention.keep: keep must be a whole number from'],
    [
      '',
      'retention: { artefacts: 7d }',
      'a retention has no key artefacts; did you mean artifacts',
    ],
    ['retention: { builds: 1s }', '', 'retention.builds: everything is kept for 1h at least'],
    [
      'retention: 7d',
      '',
      'retention: retention must be a map with builds, logs, artifacts and keep',
    ],
  ])('refuses %s %s', (farm, own, message) => {
    const { problems } = read(farm, own);
    expect(problems.map((p) => `${p.path}: ${p.message}`)).toEqual([
      expect.stringContaining(message),
    ]);
    expect(problems[0]?.line).toBeGreaterThan(0);
  });
});
