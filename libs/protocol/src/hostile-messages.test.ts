import { describe, expect, it } from '@jest/globals';
import { MessageError, workerCodec } from './codec.js';
import { acceptWorker, decideMaster } from './master-machine.js';

const ref = { build: 1, epoch: 1 };
const hello = {
  type: 'hello',
  version: '0.1.0',
  process: '6c1b0a5e-9c5e-4a43-9a0b-4a3b3bd3c6a1',
  platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
  executor: 'docker',
  labels: [],
  slots: 1,
  builds: [],
};
const event = (fields: object) => ({ type: 'event', ...ref, seq: 1, atMs: 0, event: fields });
const finished = (fields: object) =>
  event({
    kind: 'step.finished',
    step: 0,
    result: 'success',
    log: { bytes: 0, sha256: {} },
    ...fields,
  });
const nest = (open: string, close: string) => open.repeat(200_000) + close.repeat(200_000);

/** What a hostile worker says instead of a message; one frame of each once ended the master or its statements. */
describe('messages of a hostile worker', () => {
  it.each([
    ['brackets without end', `{"type":"hello","x":${nest('[', ']')}}`],
    ['braces without end', `{"type":"hello","x":${nest('{"a":', '1}').replace('1}', '1')}}`],
    ['a list of lists of builds', JSON.stringify({ ...hello, builds: [[]] })],
    ['a list for the platform', JSON.stringify({ ...hello, platform: [] })],
    ['a list for an event', JSON.stringify(event([]))],
    ['a list with an event', JSON.stringify(event([{ kind: 'build.started' }]))],
    ['a list with a null', JSON.stringify(event([null] as object))],
    ['a list for a reason', JSON.stringify({ type: 'refuse', ...ref, reason: [] })],
    ['a list for the end of a log', JSON.stringify(finished({ log: [] }))],
    [
      'hashes that are none',
      JSON.stringify(finished({ log: { bytes: 0, sha256: { stdout: {} } } })),
    ],
    ['free bytes above 64 bits', '{"type":"heartbeat","running":0,"diskFree":1e300}'],
    ['a build above 64 bits', '{"type":"artifact.done","build":1e300,"epoch":1}'],
    ['an epoch above 32 bits', '{"type":"artifact.done","build":1,"epoch":4294967296}'],
    ['a step above 32 bits', JSON.stringify(event({ kind: 'step.started', step: 2 ** 40 }))],
    ['an exit code above 32 bits', JSON.stringify(finished({ exitCode: 2 ** 40 }))],
  ])('refuses %s', (_, text) => {
    expect(() => workerCodec.parse(text)).toThrow(MessageError);
  });

  it('leaves out hashes of streams that there are not', () => {
    const said = workerCodec.parse(
      JSON.stringify(finished({ log: { bytes: 0, sha256: { evil: 'x'.repeat(1000) } } })),
    );
    expect(JSON.stringify(said)).not.toContain('evil');
  });
});

it('takes a drain that is said again and again as one', () => {
  const drain = { type: 'message', message: { type: 'drain' } } as const;
  const open = { ...acceptWorker(0), phase: 'open' as const };
  const once = decideMaster(open, drain, 1);
  expect(once.commands).toEqual([{ type: 'condition', condition: 'draining' }]);
  expect(decideMaster(once.state, drain, 2).commands).toEqual([]);
});
