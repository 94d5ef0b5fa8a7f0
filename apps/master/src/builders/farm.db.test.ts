import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { AppliedFarm, Builder, FarmFile, FarmVersion, Page, Problem } from '@impgem/client';
import * as fc from 'fast-check';
import { withConfig } from '../platform/index.js';
import { type TestMaster, testMaster } from '../testing.js';
import { FarmChecker } from './farm-checker.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const farm = (...names: string[]) =>
  `builders:\n${names.map((name) => `  ${name}: { image: i, steps: [{ name: s, run: 'true' }] }\n`).join('')}`;

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
});
afterAll(() => master.stop());

async function call<T>(method: string, path: string, body?: string, type = 'application/yaml') {
  const answer = await master.call(
    method,
    `/api/v1${path}`,
    body === undefined ? {} : { body, headers: { 'content-type': type } },
  );
  return { status: answer.status, body: (await answer.json()) as T };
}
const names = async () =>
  (await call<Page<Builder>>('GET', '/builders')).body.items.map(({ name }) => name);

const idOfX = async () =>
  (await master.database.query<{ id: number }>(`SELECT id FROM builders WHERE name = 'x'`))[0]?.id;

/** Texts that were cut, written or stored wrongly by some program or other. */
const odd = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.string({ unit: character, maxLength: 20 }),
  fc.constantFrom(
    '\0',
    '\ud83d',
    '\ude00',
    '\u202etxt',
    '\u0085',
    '\u2028',
    '\ufeff',
    '\uffff',
    'a\r',
  ),
  fc.constantFrom(
    '\\u0000',
    "'; --",
    'null',
    '~',
    '1e999',
    '{{',
    '!!binary x',
    '# x',
    'a: b',
    '\t',
  ),
  fc
    .tuple(fc.integer({ min: 55, max: 61 }), fc.constantFrom('😀', '漢', 'e\u0301', '👨‍👩‍👧', '🇩🇪'))
    .map(([n, end]) => `${'x'.repeat(n)}${end} end`),
  fc.constantFrom('a\u0301', '漢字', '😀').map((part) => part.repeat(700)),
);
type Written = Record<string, unknown> & { steps: Record<string, unknown>[] };
/** Puts one odd text somewhere. */
const PLACES: ((to: Written, text: string) => void)[] = [
  (to, text) => (to.description = text),
  (to, text) => (to.env = { A: text }),
  (to, text) => (to.properties = { p: { description: text, default: text } }),
  (to, text) => (to.properties = { p: { choices: [text, 'x'] } }),
  (to, text) => to.steps.push({ run: text }),
  (to, text) => to.steps.push({ run: text }, { run: text }),
  (to, text) => to.steps.push({ name: text, run: 'x' }),
  (to, text) => to.steps.push({ run: 'y', env: { B: text } }),
  (to, text) => to.steps.push({ run: 'z', workdir: text }),
  (to, text) => (to.source = { git: text, ref: 'main' }),
  (to, text) => (to.artifacts = [text]),
  (to, text) => (to.retention = { keep: text.length * 1e15 }),
  (to, text) => (to.retry = { failure: text.length / 10 }),
];
const builder = fc
  .array(fc.tuple(fc.constantFrom(...PLACES), odd), { minLength: 1, maxLength: 2 })
  .map((texts) => {
    const written: Written = { steps: [{ run: 'true' }] };
    for (const [put, text] of texts) put(written, text);
    return written;
  });
const escapeOf = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

describe('the farm file', () => {
  it('is not there at first', async () => {
    expect(await call('GET', '/farm')).toMatchObject({ status: 404, body: { code: 'not-found' } });
  });

  it('is put in force as YAML or JSON, and keeps its versions', async () => {
    const first = await call<AppliedFarm>('PUT', '/farm', farm('b', 'a'));
    expect(first).toMatchObject({
      status: 200,
      body: { version: 1, changed: true, builders: ['b', 'a'], appliedBy: 'token:first-admin' },
    });
    const json = JSON.stringify({ source: farm('a', 'c') });
    const second = await call<AppliedFarm>('PUT', '/farm', json, 'application/json');
    expect(second.body).toMatchObject({ changed: true, builders: ['a', 'c'] });
    expect(await names()).toEqual(['a', 'c']);
    expect((await call<FarmFile>('GET', '/farm')).body).toMatchObject({
      version: second.body.version,
      source: farm('a', 'c'),
    });
    const versions = await call<Page<FarmVersion>>('GET', '/farm/versions?limit=1');
    expect(versions.body.items).toMatchObject([{ version: second.body.version }]);
    const older = await call<Page<FarmVersion>>(
      'GET',
      `/farm/versions?after=${versions.body.next}`,
    );
    expect(older.body).toMatchObject({ items: [{ version: 1, builders: ['b', 'a'] }], next: null });
    const audit = await call<Page<object>>('GET', '/audit?limit=1');
    expect(audit.body.items).toMatchObject([{ action: 'farm.apply', detail: { removed: ['b'] } }]);
  });

  it('changes nothing when the text is in force already', async () => {
    const text = farm('a', 'c', 'd');
    const one = await call<AppliedFarm>('PUT', '/farm', text, 'text/yaml');
    const two = await call<AppliedFarm>('PUT', '/farm', text);
    expect(two.body).toEqual({ ...one.body, changed: false });
  });

  it('takes builders out and back, with their history', async () => {
    await call('PUT', '/farm', farm('x', 'y'));
    const before = await idOfX();
    await call('PUT', '/farm', farm('y'));
    expect((await call<Problem>('GET', '/builders/x')).body.code).toBe('unknown-builder');
    expect((await call('GET', '/builds?builder=x')).status).toBe(200);
    await call('PUT', '/farm', farm('y', 'x'));
    expect(await names()).toEqual(['y', 'x']);
    expect(await idOfX()).toBe(before);
  });

  it('with problems is refused whole, with line and column, and nothing half done', async () => {
    const version = (await call<FarmFile>('GET', '/farm')).body.version;
    const before = await names();
    const bad = `${farm('z')}  w: { image: i, stepps: 1, steps: [{ run: a }] }\n`;
    const { status, body } = await call<Problem>('PUT', '/farm', bad);
    expect([status, body.code]).toEqual([422, 'invalid-farm-file']);
    expect(body.detail).toMatch(/^line 3, column \d+: .*stepps/);
    expect(body.problems?.[0]).toMatchObject({
      line: 3,
      message: expect.stringContaining('steps'),
    });
    expect(await names()).toEqual(before);
    expect((await call<FarmFile>('GET', '/farm')).body.version).toBe(version);
    const lint = await call<{ problems: object[] }>('POST', '/farm/lint', bad);
    expect([lint.status, lint.body.problems]).toEqual([200, body.problems]);
    expect(
      (await call<{ problems: object[] }>('POST', '/farm/lint', farm('z'))).body.problems,
    ).toEqual([]);
  });

  it.each([
    ['empty', '', 'application/yaml', 422],
    ['no YAML', '{', 'application/yaml', 422],
    ['with a NUL', farm('a').replace('true', 'a\u0000b'), 'application/yaml', 422],
    ['JSON without source', '{}', 'application/json', 400],
    ['JSON with more', '{"source":"","x":1}', 'application/json', 400],
    ['a list', '[]', 'application/json', 400],
  ])('that is %s is refused', async (_, body, type, status) => {
    expect((await call<Problem>('PUT', '/farm', body, type)).status).toBe(status);
  });

  it('that lint accepts is applied, whatever is in its texts', async () => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(builder, fc.boolean(), async (b, escaped) => {
        const plain = JSON.stringify({ builders: { b } });
        const source = escaped ? plain.replaceAll(/[^ -~]/g, escapeOf) : plain;
        const lint = await call<{ problems: object[] }>('POST', '/farm/lint', source);
        const applied = await call<AppliedFarm & Problem>('PUT', '/farm', source);
        if (lint.body.problems.length > 0) {
          expect([applied.status, applied.body.problems]).toEqual([422, lint.body.problems]);
          return;
        }
        accepted += 1;
        expect([applied.status, applied.body.builders]).toEqual([200, ['b']]);
        expect((await call<FarmFile>('GET', '/farm')).body.source).toBe(source);
        expect((await call<Builder>('GET', '/builders/b')).body.description).toBe(
          b.description ?? null,
        );
      }),
      { numRuns: 40, seed: 11, endOnFailure: true },
    );
    expect(accepted).toBeGreaterThan(12);
  });

  it('is applied by two at once one after the other', async () => {
    const files = [farm('p'), farm('q'), farm('r'), farm('s')];
    const applied = await Promise.all(files.map((file) => call<AppliedFarm>('PUT', '/farm', file)));
    expect(applied.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const last = applied.toSorted((a, b) => a.body.version - b.body.version).at(-1);
    expect(await names()).toEqual(last?.body.builders);
  });

  it('needs the scope admin', async () => {
    const { token } = await master.newToken(['trigger']);
    const answer = await master.call('PUT', '/api/v1/farm', { json: { source: farm('a') }, token });
    expect(answer.status).toBe(403);
  });
});

describe('the check of a farm file', () => {
  /** As much as is taken, of what takes long. */
  const worst = `builders:\n  a:\n    steps:\n${"      - { run: 'true', x: 1 }\n".repeat(6000)}`;

  it('holds nobody else up', async () => {
    const order: string[] = [];
    const lint = master
      .call('POST', '/api/v1/farm/lint', { json: { source: worst } })
      .then(({ status }) => order.push(`lint ${status}`));
    for (let n = 0; n < 3; n++) {
      await master.call('GET', '/health/live', { token: null });
      order.push('health');
    }
    await lint;
    expect(order).toEqual(['health', 'health', 'health', 'lint 200']);
  });

  it('has a time of its own, after which it is given up; the next one is as good as ever', async () => {
    const limits = { ...master.config.limits, checkMs: 0 };
    const hasty = new FarmChecker(withConfig(master.config, { limits }));
    await expect(hasty.read(worst)).rejects.toMatchObject({
      code: 'invalid-request',
      message: expect.stringContaining('smaller'),
    });
    await hasty.onApplicationShutdown();
    const checker = new FarmChecker(master.config);
    const good = "builders: { a: { steps: [{ run: 'true' }] } }";
    expect((await checker.read(good)).farm?.builders.has('a')).toBe(true);
    expect((await checker.read('builders: 1')).problems).toHaveLength(1);
    await checker.onApplicationShutdown();
  });
});
