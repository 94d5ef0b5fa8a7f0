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
      { numRuns: 500 },
    );
  });
});
