import { describe, expect, it } from '@jest/globals';
import { CLOSE } from './close-codes.js';
import type { LogFrame } from './data-frames.js';
import type { WorkerMessage } from './messages.js';
import {
  MASTER_LIMITS,
  masterLimits,
  type MasterCommand,
  type MasterEvent,
  type MasterState,
} from './master-machine-state.js';
import { acceptWorker, decideMaster } from './master-machine.js';

const REASON = { code: 'stale', message: 'was handed to another worker' };
const HELLO = { type: 'hello', builds: [] } as unknown as WorkerMessage;
const WELCOME = { version: '0.1.0', worker: 'w', name: 'ann', farm: 'f', heartbeatMs: 10_000 };
const welcome = WELCOME as unknown as Extract<MasterEvent, { type: 'greeted' }>['welcome'];
const plan = {} as never;

const message = (plain: object) =>
  ({ type: 'message', message: plain as WorkerMessage }) satisfies MasterEvent;
const verdict = (build: number, verdict: 'continue' | 'stop' | 'release', cancel = false) => ({
  build,
  epoch: 1,
  verdict,
  seq: 4,
  cancel,
});
const event = (build: number, seq = 5) =>
  message({ type: 'event', build, epoch: 1, seq, atMs: 0, event: { kind: 'build.started' } });
const chunk = (build: number): MasterEvent => ({
  type: 'frame',
  frame: { kind: 'log', build, epoch: 1, seq: 5 } as LogFrame,
});

/** Plays events from the start, a second apart, and returns the last state and all commands. */
function play(events: MasterEvent[], from = acceptWorker(0), start = 0) {
  let state: MasterState = from;
  const commands: MasterCommand[] = [];
  events.forEach((event, index) => {
    const decision = decideMaster(state, event, start + index * 1000);
    state = decision.state;
    commands.push(...decision.commands);
  });
  return { state, commands };
}

const AWAITING = acceptWorker(0);
const GREETING = play([message(HELLO)]).state;
/** Holds 1; 2 was released, 3 stopped. */
const OPEN = play([
  message(HELLO),
  {
    type: 'greeted',
    welcome,
    verdicts: [verdict(1, 'continue'), verdict(2, 'release'), verdict(3, 'stop')],
  },
]).state;
const DRAINING = play([message({ type: 'drain' })], OPEN, 2000).state;
const CLOSED = play([{ type: 'closed' }], OPEN, 2000).state;

const sent = (commands: MasterCommand[]) =>
  commands.flatMap((command) => (command.type === 'send' ? [command.message.type] : []));
const kinds = (commands: MasterCommand[]) =>
  commands.map((command) =>
    command.type === 'send'
      ? `send ${command.message.type}`
      : command.type === 'close'
        ? `close ${command.code}`
        : command.type,
  );

describe('the transitions of a worker connection', () => {
  it.each<[string, MasterState, MasterEvent, MasterState['phase'], string[]]>([
    ['hello begins the greeting', AWAITING, message(HELLO), 'greeting', ['greet']],
    [
      'anything before hello is misuse',
      AWAITING,
      message({ type: 'credit', add: 1 }),
      'closed',
      [`close ${CLOSE.badMessage}`],
    ],
    ['a chunk before hello is misuse', AWAITING, chunk(1), 'closed', [`close ${CLOSE.badMessage}`]],
    [
      'a heartbeat may come while we greet',
      GREETING,
      message({ type: 'heartbeat' }),
      'greeting',
      [],
    ],
    ['work before welcome is misuse', GREETING, event(1), 'closed', [`close ${CLOSE.badMessage}`]],
    [
      'verdicts open the connection',
      GREETING,
      { type: 'greeted', welcome, verdicts: [] },
      'open',
      ['send welcome', 'condition'],
    ],
    [
      'a connection may be refused while it is greeted',
      GREETING,
      { type: 'shut', code: CLOSE.replaced, reason: 'another lives' },
      'closed',
      [`close ${CLOSE.replaced}`],
    ],
    ['a second hello is misuse', OPEN, message(HELLO), 'closed', [`close ${CLOSE.badMessage}`]],
    ['credit makes hungry', OPEN, message({ type: 'credit', add: 2 }), 'open', ['hungry']],
    [
      'credit beyond the bound is misuse',
      { ...OPEN, credit: 1024 },
      message({ type: 'credit', add: 1 }),
      'closed',
      [`close ${CLOSE.badMessage}`],
    ],
    ['credit after drain is void', DRAINING, message({ type: 'credit', add: 2 }), 'open', []],
    ['an event of a held build is appended', OPEN, event(1), 'open', ['append']],
    ['a chunk of a held build is appended', OPEN, chunk(1), 'open', ['append']],
    ['an event of a released build is dropped', OPEN, event(2), 'open', []],
    ['a chunk of a stopped build is dropped', OPEN, chunk(3), 'open', []],
    ["another worker's build ends it", OPEN, event(99), 'closed', [`close ${CLOSE.notYours}`]],
    ["another worker's chunk ends it", OPEN, chunk(99), 'closed', [`close ${CLOSE.notYours}`]],
    [
      'an artifact of a held build is taken',
      OPEN,
      message({ type: 'artifact.offer', build: 1, epoch: 1 }),
      'open',
      ['artifact'],
    ],
    [
      'an artifact of no build of its own ends it',
      OPEN,
      message({ type: 'artifact.offer', build: 1, epoch: 2 }),
      'closed',
      [`close ${CLOSE.notYours}`],
    ],
    [
      'a refused build goes back',
      OPEN,
      message({ type: 'refuse', build: 1, epoch: 1, reason: REASON }),
      'open',
      ['give-back'],
    ],
    [
      'a commit is acknowledged',
      OPEN,
      { type: 'committed', build: 1, epoch: 1, seq: 5 },
      'open',
      ['send ack'],
    ],
    ['a gap is told', OPEN, { type: 'gap', build: 1, epoch: 1, seq: 4 }, 'open', ['send expect']],
    [
      'an end is released',
      OPEN,
      { type: 'finished', build: 1, epoch: 1 },
      'open',
      ['send release'],
    ],
    [
      'a lost lease is stopped',
      OPEN,
      { type: 'taken', build: 1, epoch: 1, reason: REASON },
      'open',
      ['send stop'],
    ],
    [
      'a released build is not stopped',
      OPEN,
      { type: 'taken', build: 2, epoch: 1, reason: REASON },
      'open',
      [],
    ],
    [
      'a cancel is told',
      OPEN,
      { type: 'cancel', build: 1, epoch: 1, reason: REASON },
      'open',
      ['send cancel'],
    ],
    [
      'what is malformed ends it',
      OPEN,
      { type: 'malformed', reason: 'a control frame is JSON' },
      'closed',
      [`close ${CLOSE.badMessage}`],
    ],
    [
      'a revoked worker is cut off',
      OPEN,
      { type: 'shut', code: CLOSE.revoked, reason: 'revoked' },
      'closed',
      [`close ${CLOSE.revoked}`],
    ],
    ['nothing is heard when closed', CLOSED, event(1), 'closed', []],
    [
      'nothing is said when closed',
      CLOSED,
      { type: 'committed', build: 1, epoch: 1, seq: 5 },
      'closed',
      [],
    ],
  ])('%s', (_, before, event, phase, commands) => {
    const decision = decideMaster(before, event, 5000);
    expect(decision.state.phase).toBe(phase);
    expect(kinds(decision.commands)).toEqual(commands);
  });
});

describe('credit', () => {
  it('is used up by assignments and void after drain', () => {
    const hungry = play([message({ type: 'credit', add: 3 })], OPEN).state;
    const one = play([{ type: 'assigned', assignments: [{ build: 7, epoch: 1, plan }] }], hungry);
    expect(sent(one.commands)).toEqual(['assign']);
    expect(one.state.credit).toBe(2);
    expect(play([message({ type: 'drain' })], one.state).state.credit).toBe(0);
    // An attempt that was assigned is held.
    expect(kinds(play([event(7)], one.state).commands)).toEqual(['append']);
  });
});

describe('an attempt', () => {
  it('is dropped silently after its release, and unknown after many others', () => {
    const limits = { ...OPEN.limits, gone: 3 };
    const released = play([{ type: 'finished', build: 1, epoch: 1 }], { ...OPEN, limits }).state;
    expect(play([event(1)], released).commands).toEqual([]);
    const later = play(
      [
        { type: 'assigned', assignments: [4, 5, 6].map((build) => ({ build, epoch: 1, plan })) },
        ...[4, 5, 6].map((build): MasterEvent => ({ type: 'finished', build, epoch: 1 })),
      ],
      released,
    ).state;
    expect(later.attempts.size).toBe(3);
    expect(kinds(play([event(1)], later).commands)).toEqual([`close ${CLOSE.notYours}`]);
  });

  it('is told once to cancel, also when the welcome said so', () => {
    const cancel: MasterEvent = { type: 'cancel', build: 1, epoch: 1, reason: REASON };
    expect(sent(play([cancel, cancel], OPEN).commands)).toEqual(['cancel']);
    const told = play(
      [{ type: 'greeted', welcome, verdicts: [verdict(1, 'continue', true)] }, cancel],
      GREETING,
    );
    expect(sent(told.commands)).toEqual(['welcome']);
  });

  it('leaves older states as they were', () => {
    const before = OPEN.attempts.get('1-1');
    play([{ type: 'finished', build: 1, epoch: 1 }], OPEN);
    expect(OPEN.attempts.get('1-1')).toBe(before);
  });
});

const at = (state: MasterState, now: number, event: MasterEvent = { type: 'tick' }) =>
  decideMaster(state, event, now);

describe('time', () => {
  it('closes a connection without hello', () => {
    expect(kinds(at(AWAITING, 9999).commands)).toEqual([]);
    expect(kinds(at(AWAITING, 10_000).commands)).toEqual([`close ${CLOSE.silent}`]);
  });

  it('suspects after 15 s of silence, once, and gives up after 45 s', () => {
    const { heardAt } = OPEN;
    const suspect = at({ ...OPEN, pingedAt: heardAt + 15_000 }, heardAt + 15_000);
    expect(suspect.commands).toEqual([{ type: 'condition', condition: 'suspect' }]);
    expect(kinds(at(suspect.state, heardAt + 16_000).commands)).toEqual([]);
    expect(kinds(at(suspect.state, heardAt + 45_000).commands)).toEqual([`close ${CLOSE.silent}`]);
    const back = at(suspect.state, heardAt + 17_000, { type: 'heard' });
    expect(back.commands).toEqual([{ type: 'condition', condition: 'online' }]);
  });

  it('is as quick to suspect as it asks workers to be with signs of life', () => {
    const limits = masterLimits(1000);
    expect(limits).toMatchObject({ pingMs: 1000, suspectMs: 1500, lostMs: 4500, helloMs: 10_000 });
    const state = { ...OPEN, limits };
    expect(kinds(at(state, state.heardAt + 4499).commands)).not.toContain(`close ${CLOSE.silent}`);
    expect(kinds(at(state, state.heardAt + 4500).commands)).toEqual([`close ${CLOSE.silent}`]);
    expect(masterLimits(MASTER_LIMITS.pingMs)).toEqual(MASTER_LIMITS);
  });

  it('does not count silence while the socket is not read', () => {
    const deaf = at(OPEN, 2000, { type: 'deaf', deaf: true }).state;
    expect(at(deaf, 100_000).state.phase).toBe('open');
    const again = at(deaf, 100_000, { type: 'deaf', deaf: false }).state;
    expect(at(again, 144_999).state.phase).toBe('open');
    expect(at(again, 145_000).state.phase).toBe('closed');
  });

  it('pings regularly', () => {
    const first = at({ ...OPEN, heardAt: 12_000 }, 12_000);
    expect(first.commands).toEqual([{ type: 'ping' }]);
    expect(at(first.state, 13_000).commands).toEqual([]);
  });
});
