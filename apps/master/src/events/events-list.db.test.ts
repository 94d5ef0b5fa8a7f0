import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { FarmEvent, Page, Problem } from '@impgem/client';
import { type TestMaster, testMaster } from '../testing.js';
import { Events } from './events.js';

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
  const events = master.app.get(Events);
  for (const build of [1, 2, 1])
    await master.database.transaction((tx) =>
      events.append(tx, [
        { kind: 'build.started', build, builder: 'b', request: 9, worker: 'w' },
        { kind: 'step.started', build, data: { step: 0 } },
      ]),
    );
  // Other databases of the server may hold them back for a while.
  for (let held = true; held;) ({ held } = await events.readOn({ after: '0.0', limit: 100 }));
});
afterAll(() => master.stop());

const get = async <T>(query: string) => {
  const answer = await master.call('GET', `/api/v1/events?${query}`);
  return { status: answer.status, body: (await answer.json()) as T };
};

describe('GET /events', () => {
  it('gives all events in pages, oldest first', async () => {
    const all = (await get<Page<FarmEvent>>('limit=200')).body;
    expect(all.next).toBeNull();
    expect(all.items.map(({ build }) => build)).toEqual([1, 1, 2, 2, 1, 1]);
    expect(all.items[0]).toEqual({
      id: expect.stringMatching(/^\d+\.\d+$/),
      kind: 'build.started',
      at: expect.any(String),
      builder: 'b',
      build: 1,
      request: 9,
      worker: 'w',
      data: {},
    });
    const seen: FarmEvent[] = [];
    for (let after: string | null = '0.0'; after !== null;) {
      const page: Page<FarmEvent> = (await get<Page<FarmEvent>>(`limit=4&after=${after}`)).body;
      seen.push(...page.items);
      after = page.next;
    }
    expect(seen).toEqual(all.items);
  });

  it('gives those of one build', async () => {
    const { body } = await get<Page<FarmEvent>>('build=2');
    expect(body.items.map(({ kind, build }) => [kind, build])).toEqual([
      ['build.started', 2],
      ['step.started', 2],
    ]);
  });

  it.each(['after=7', 'build=x', 'build=0', 'limit=1000', 'biuld=1'])(
    'refuses %s',
    async (query) => {
      const { status, body } = await get<Problem>(query);
      expect([status, body.code]).toEqual([400, 'invalid-request']);
    },
  );
});
