import { describe, expect, it } from '@jest/globals';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import * as fc from 'fast-check';
import { MASTER_MESSAGES, WORKER_MESSAGES } from './messages.js';
import { proofOf } from './proof.js';

const ref = { build: 1, epoch: 2 };
const reason = { code: 'exit-code', message: 'exit code 2' };
const event = (fields: object) => ({ ...ref, seq: 4, atMs: 5, event: fields });
const uuid = '6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1';
const log = { bytes: 3, sha256: { stdout: 'ab'.repeat(32) } };

/** In order, each of them. */
const GOOD: [keyof typeof SHAPES, object][] = [
  ['event', event({ kind: 'build.started' })],
  ['event', event({ kind: 'property.set', name: 'got_revision', value: 'abc' })],
  ['event', event({ kind: 'step.started', step: 0 })],
  ['event', event({ kind: 'step.finished', step: 0, result: 'failure', exitCode: 2, reason, log })],
  ['event', event({ kind: 'build.finished', result: 'success' })],
  ['credit', { add: 2 }],
  ['refuse', { ...ref, reason }],
  ['heartbeat', { running: 1, diskFree: 5, lowDisk: 'data', spooled: 7 }],
  ['artifact.done', { ...ref, artifact: 0, size: 3, sha256: 'ab'.repeat(32) }],
  [
    'hello',
    {
      version: '0.1.0',
      process: uuid,
      platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
      executor: 'docker',
      labels: ['os=linux', 'x'],
      slots: 1,
      builds: [{ ...ref, seq: 3, finished: false }],
    },
  ],
  ['ack', { ...ref, seq: 9 }],
  ['release', ref],
  ['artifact.ack', { ...ref, artifact: 1, offset: 7 }],
  [
    'assign',
    {
      ...ref,
      plan: {
        builder: 'b',
        number: 1,
        source: { git: 'https://example.org/a.git', ref: 'main' },
        steps: [{ kind: 'run', name: 's', run: 'true', env: { A: 'b' }, timeoutMs: 5 }],
        artifacts: ['out/*'],
        properties: { x: 'y' },
        timeoutMs: 1000,
      },
    },
  ],
];
const SHAPES = { ...WORKER_MESSAGES, ...MASTER_MESSAGES };

/** What the library makes of it; undefined when it refuses. */
function library(shape: new () => object, plain: object): object | undefined {
  const instance = plainToInstance(shape, JSON.parse(JSON.stringify(plain)));
  const errors = validateSync(instance, { whitelist: true, forbidUnknownValues: false });
  return errors.length > 0 ? undefined : (JSON.parse(JSON.stringify(instance)) as object);
}

describe('a proof', () => {
  it.each(GOOD)('is found for %s', (type, message) => {
    expect(proofOf(SHAPES[type], 'type')({ ...message, type })).toBe(true);
    expect(library(SHAPES[type], message)).toEqual(message);
  });

  it('is not found for what the library would change', () => {
    const [, assign] = GOOD.at(-1) as [string, { plan: object }];
    const proves = proofOf(MASTER_MESSAGES.assign);
    const env = JSON.parse('{"constructor":"x"}') as object;
    for (const change of [{ beside: 1 }, { properties: env }, { properties: { a: { b: 1 } } }])
      expect(proves({ ...assign, plan: { ...assign.plan, ...change } })).toBe(false);
  });

  it('is found for nothing that the library refuses or changes', () => {
    const junk = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom(-1, 0, 1e300, 0.5, 2 ** 53, '', 'x', null, [[]], [null], [{}], {}, { x: 1 }),
      fc.constantFrom(JSON.parse('{"__proto__":{}}'), { constructor: 1 }, { kind: 'step.started' }),
    );
    let proven = 0;
    const changed = fc
      .tuple(fc.constantFrom(...GOOD), fc.nat(40), junk, fc.constantFrom('set', 'remove', 'add'))
      .map(([[type, message], at, value, how]) => {
        let left = at;
        const text = JSON.stringify(message, (key, old: unknown) => {
          if (key === '' || left-- !== 0) return old;
          if (how === 'add' && typeof old === 'object' && old !== null && !Array.isArray(old))
            return { ...old, beside: value };
          return how === 'remove' ? undefined : value;
        });
        return { shape: SHAPES[type] as new () => object, plain: JSON.parse(text) as object };
      });
    fc.assert(
      fc.property(changed, ({ shape, plain }) => {
        if (!proofOf(shape)(plain)) return;
        proven += 1;
        expect(library(shape, plain)).toEqual(plain);
      }),
      { numRuns: 300 },
    );
    expect(proven).toBeGreaterThan(50);
  });
});
