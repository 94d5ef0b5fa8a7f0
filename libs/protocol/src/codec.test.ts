import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { masterCodec, MessageError, workerCodec } from './codec.js';
import type { MasterMessage, WorkerMessage } from './messages.js';

const ref = { build: 1, epoch: 2 };
const finished: WorkerMessage = {
  type: 'event',
  ...ref,
  seq: 4,
  atMs: 5,
  event: {
    kind: 'step.finished',
    step: 0,
    result: 'failure',
    exitCode: 2,
    reason: { code: 'exit-code', message: 'exit code 2' },
    log: { bytes: 3, sha256: { stdout: 'ab'.repeat(32) } },
  },
};
const hello = {
  type: 'hello',
  version: '0.1.0',
  process: '6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1',
  platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
  executor: 'docker',
  labels: ['os=linux'],
  slots: 1,
  builds: [{ ...ref, seq: 3, finished: false }],
};
const assign: MasterMessage = {
  type: 'assign',
  ...ref,
  plan: {
    builder: 'b',
    number: 1,
    steps: [{ kind: 'run', name: 's', run: 'true', env: {} }],
    artifacts: [],
    properties: {},
    timeoutMs: 1000,
  },
};

describe('codec', () => {
  it('gives back what it was given', () => {
    const event = workerCodec.parse(workerCodec.stringify(finished));
    expect(JSON.parse(JSON.stringify(event))).toEqual(finished);
    const order = masterCodec.parse(masterCodec.stringify(assign));
    expect(JSON.parse(JSON.stringify(order))).toEqual(assign);
  });

  it.each([
    ['nothing', '', 'is JSON'],
    ['a list', '[]', 'is a JSON object'],
    ['no type', '{}', 'unknown message type'],
    ['a type of the other direction', '{"type":"welcome"}', 'unknown message type "welcome"'],
    ['a name of the language', '{"type":"constructor"}', 'unknown message type'],
    ['a missing field', '{"type":"credit"}', 'credit: add'],
    ['a wrong field', '{"type":"credit","add":"1"}', 'credit: add'],
    [
      'an unknown event',
      '{"type":"event","build":1,"epoch":1,"seq":1,"atMs":0,"event":{"kind":"boom"}}',
      'event: event.kind',
    ],
    [
      'an event without its fields',
      '{"type":"event","build":1,"epoch":1,"seq":1,"atMs":0,"event":{"kind":"step.finished"}}',
      'event: event.',
    ],
  ])('refuses %s, and says what is wrong', (_, text, message) => {
    expect(() => workerCodec.parse(text)).toThrow(MessageError);
    expect(() => workerCodec.parse(text)).toThrow(message);
  });

  it('drops a field that it does not know, so that a newer worker may tell more', () => {
    const text = '{"type":"heartbeat","running":0,"diskFree":1,"later":{"x":[1]}}';
    const known = { type: 'heartbeat', running: 0, diskFree: 1 };
    expect(JSON.parse(JSON.stringify(workerCodec.parse(text)))).toEqual(known);
  });

  it('does not send what it would not take', () => {
    expect(() => workerCodec.stringify({ type: 'credit', add: 0 })).toThrow(MessageError);
  });

  it('throws nothing but MessageError, whatever comes', () => {
    const types = fc.constantFrom(
      'hello',
      'event',
      'credit',
      'assign',
      'welcome',
      'artifact.offer',
    );
    const nearly = fc
      .tuple(
        types,
        fc.dictionary(
          fc.constantFrom('build', 'epoch', 'seq', 'event', 'builds', 'plan', 'add'),
          fc.jsonValue(),
        ),
      )
      .map(([type, fields]) => JSON.stringify({ ...fields, type }));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), nearly), (text) => {
        for (const codec of [workerCodec, masterCodec])
          try {
            codec.parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(MessageError);
          }
      }),
      { numRuns: 200 },
    );
  });

  it('takes or refuses any change of a good message, and sends again what it took', () => {
    const junk = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom(-1, 1e300, 0.5, 2 ** 53, '', '\0', [[]], { constructor: 1 }),
    );
    const changed = fc
      .tuple(fc.constantFrom<object>(finished, assign, hello), fc.nat(60), junk, fc.boolean())
      .map(([message, at, value, removes]) => {
        let left = at;
        return JSON.stringify(message, (key, old: unknown) => {
          if (key === '' || key === 'type' || left-- !== 0) return old;
          return removes ? undefined : value;
        });
      });
    fc.assert(
      fc.property(changed, (text) => {
        for (const codec of [workerCodec, masterCodec]) {
          let message;
          try {
            message = codec.parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(MessageError);
            continue;
          }
          expect(codec.parse(codec.stringify(message as never))).toEqual(message);
        }
      }),
      { numRuns: 400 },
    );
  });
});
