import { describe, expect, it } from '@jest/globals';
import { CLOSE } from './close-codes.js';
import type { MasterMessage, Welcome } from './messages.js';
import { decideWorker } from './worker-machine.js';
import {
  initialWorkerState,
  WORKER_LIMITS,
  type FoundBuild,
  type WorkerCommand,
  type WorkerEvent,
} from './worker-machine-state.js';

const hello = {
  version: '0.1.0',
  process: '00000000-0000-4000-8000-000000000001',
  platform: { os: 'linux', arch: 'amd64', hostname: 'h', cpus: 1, memory: 1 },
  executor: 'scripted' as const,
  labels: [],
  slots: 2,
};
const welcome = (builds: Welcome['builds'] = []): Welcome => ({
  type: 'welcome',
  version: '0.1.0',
  worker: '00000000-0000-4000-8000-000000000002',
  name: 'w',
  farm: '00000000-0000-4000-8000-000000000003',
  heartbeatMs: 10_000,
  limits: { frameBytes: 1 << 20, windowBytes: 1000, artifactWindowBytes: 1000 },
  builds,
});
const plan = {
  builder: 'b',
  number: 1,
  steps: [],
  artifacts: [],
  properties: {},
  timeoutMs: 1,
};
const reason = { code: 'cancelled', message: 'why' };
const one = { build: 1, epoch: 3 };

/** A worker's end under a hand-moved clock; `commands` are those of the last event. */
function worker(found: FoundBuild[] = []) {
  let state = initialWorkerState(hello, found);
  const self = {
    now: 0,
    random: 0.5,
    commands: [] as WorkerCommand[],
    get state() {
      return state;
    },
    tell(event: WorkerEvent) {
      const frozen = JSON.stringify([...state.builds]);
      const before = state;
      const decision = decideWorker(state, event, { now: self.now, random: self.random });
      expect(JSON.stringify([...before.builds])).toBe(frozen);
      state = decision.state;
      self.commands = decision.commands;
      return self;
    },
    hears: (message: MasterMessage) =>
      self.tell({ type: 'received', connection: state.connection, message }),
    closed: (code: number, status?: number) =>
      self.tell({
        type: 'closed',
        connection: state.connection,
        code,
        reason: '',
        ...(status === undefined ? {} : { status }),
      }),
    connects: () => self.tell({ type: 'connected', connection: state.connection }),
    opens: (builds?: Welcome['builds']) => {
      if (state.phase === 'idle') self.tell({ type: 'start' });
      if (state.phase === 'waiting') self.tell({ type: 'timer', name: 'reconnect' });
      self.connects();
      return self.hears(welcome(builds));
    },
    of: (type: WorkerCommand['type']) => self.commands.filter((command) => command.type === type),
    sends: () =>
      self.commands.flatMap((command) => (command.type === 'send' ? [command.message] : [])),
    pumpOf: () => self.commands.flatMap((command) => (command.type === 'pump' ? [command] : []))[0],
  };
  return self;
}

/** One that runs build 1 with records up to `seq` on disk; `sent` of them given to the socket, 100 bytes each. */
function running(seq: number, sent = seq) {
  const self = worker().opens();
  self.hears({ type: 'assign', ...one, plan });
  self.tell({ type: 'journaled', ...one, seq, finished: false });
  const records = Array.from({ length: sent }, (_, at) => ({ seq: at + 1, bytes: 100 }));
  self.tell({ type: 'pumped', ...one, pump: self.pumpOf()?.pump ?? 0, records });
  return self;
}

const assign = (build: number): MasterMessage => ({ type: 'assign', build, epoch: 1, plan });

describe('connecting', () => {
  it('says hello, then grants a credit for each slot', () => {
    const self = worker().tell({ type: 'start' });
    expect(self.of('connect')).toEqual([{ type: 'connect', connection: 1 }]);
    expect(self.connects().sends()).toEqual([{ type: 'hello', ...hello, builds: [] }]);
    expect(self.hears(welcome()).sends()).toEqual([{ type: 'credit', add: 2 }]);
    expect(self.of('online')).toHaveLength(1);
  });

  it.each([CLOSE.revoked, CLOSE.version])('does not come back after %i', (code) => {
    const self = running(1).closed(code);
    expect(self.state.phase).toBe('stopped');
    expect(self.commands.map(({ type }) => type)).toContain('halt');
    expect(self.of('exit')).toHaveLength(1);
    expect(self.of('timer')).toEqual([]);
  });

  it('does not come back when the upgrade is refused for its credential', () => {
    const self = worker().tell({ type: 'start' }).closed(1006, 401);
    expect(self.of('exit')).toMatchObject([{ why: 'unauthenticated' }]);
    expect(worker().tell({ type: 'start' }).closed(1006, 503).of('timer')).toHaveLength(1);
  });

  it('tries three times within 10 s after a restart of the master, then backs off to 30 s', () => {
    const self = worker().opens();
    self.random = 0.999_999;
    const waits = Array.from({ length: 12 }, (_, at) => {
      self.closed(at === 0 ? CLOSE.restart : 1006);
      const [timer] = self.commands.filter(
        (command) => command.type === 'timer' && command.name === 'reconnect',
      );
      self.tell({ type: 'timer', name: 'reconnect' });
      return timer?.type === 'timer' ? timer.inMs : 0;
    });
    expect((waits[0] ?? 0) + (waits[1] ?? 0) + (waits[2] ?? 0)).toBeLessThan(10_000);
    expect(waits.slice(3, 6)).toEqual([1999, 3999, 7999]);
    expect(Math.max(...waits)).toBeLessThanOrEqual(30_000);
    expect(waits.at(-1)).toBe(29_999);
  });

  it('comes back quickly after a long-lived connection, not after a short one', () => {
    const self = worker().opens();
    for (let at = 0; at < 5; at += 1) self.closed(1006).opens();
    expect(self.state.quickLeft).toBe(0);
    self.now += WORKER_LIMITS.longLivedMs;
    expect(self.closed(1006).state).toMatchObject({ quickLeft: 2, failures: 0 });
  });

  it('gives a silent connection up', () => {
    const self = worker().opens();
    self.now = 10_000;
    expect(self.tell({ type: 'timer', name: 'heartbeat' }).of('heartbeat')).toHaveLength(1);
    self.now = WORKER_LIMITS.silenceMs + 1;
    self.tell({ type: 'timer', name: 'heartbeat' });
    expect(self.of('close')).toMatchObject([{ code: CLOSE.silent }]);
  });

  it('gives one up sooner that should be heard more often', () => {
    const self = worker()
      .tell({ type: 'start' })
      .connects()
      .hears({ ...welcome(), heartbeatMs: 1000 });
    self.now = 3000;
    expect(self.tell({ type: 'timer', name: 'heartbeat' }).of('close')).toEqual([]);
    self.now = 3001;
    self.tell({ type: 'timer', name: 'heartbeat' });
    expect(self.of('close')).toMatchObject([{ code: CLOSE.silent }]);
  });

  it('gives a master up that does not greet, talks before, or twice', () => {
    const silent = worker().tell({ type: 'start' }).tell({ type: 'timer', name: 'greeting' });
    expect(silent.of('close')).toMatchObject([{ code: CLOSE.silent }]);
    const early = worker().tell({ type: 'start' }).connects().hears(assign(1));
    expect(early.of('close')).toMatchObject([{ code: CLOSE.badMessage }]);
    expect(worker().opens().hears(welcome()).of('close')).toMatchObject([
      { code: CLOSE.badMessage },
    ]);
  });

  it('ignores what an old connection still says', () => {
    const self = worker().opens().closed(1006).opens();
    self.tell({ type: 'received', connection: 1, message: assign(1) });
    expect(self.commands).toEqual([]);
    expect(self.tell({ type: 'closed', connection: 1, code: 1006, reason: '' }).commands).toEqual(
      [],
    );
  });
});

describe('work', () => {
  it('runs what it is given in free slots, and refuses more', () => {
    const self = worker().opens();
    expect(self.hears(assign(1)).of('run')).toMatchObject([{ slot: 0 }]);
    expect(self.hears(assign(1)).commands).toEqual([]);
    expect(self.hears(assign(2)).of('run')).toMatchObject([{ slot: 1 }]);
    expect(self.hears(assign(3)).sends()).toMatchObject([
      { type: 'refuse', build: 3, reason: { code: 'worker-busy' } },
    ]);
    self.tell({ type: 'journaled', build: 1, epoch: 1, seq: 2, finished: true });
    expect(self.hears({ type: 'release', build: 1, epoch: 1 }).of('release')).toHaveLength(1);
    expect(self.sends()).toEqual([]);
    expect(self.tell({ type: 'cleaned', build: 1, epoch: 1 }).sends()).toEqual([
      { type: 'credit', add: 1 },
    ]);
    expect(self.hears(assign(3)).of('run')).toMatchObject([{ slot: 0 }]);
  });

  it('passes cancel and stop on, once each, and says nothing of a build it does not hold', () => {
    const self = running(2);
    expect(self.hears({ type: 'cancel', ...one, reason }).of('cancel')).toEqual([
      { type: 'cancel', ...one, reason },
    ]);
    expect(self.hears({ type: 'stop', ...one, reason }).of('abandon')).toHaveLength(1);
    expect(self.hears({ type: 'stop', ...one, reason }).commands).toEqual([]);
    for (const type of ['cancel', 'stop'] as const)
      expect(self.hears({ type, build: 9, epoch: 9, reason }).commands).toEqual([]);
    expect(self.hears({ type: 'ack', build: 9, epoch: 9, seq: 4 }).commands).toEqual([]);
  });

  it('drains: finishes, takes nothing new, ends', () => {
    const self = running(1);
    expect(self.tell({ type: 'drain' }).sends()).toEqual([{ type: 'drain' }]);
    expect(self.hears(assign(2)).sends()).toMatchObject([{ reason: { code: 'draining' } }]);
    self.tell({ type: 'journaled', ...one, seq: 2, finished: true });
    self.hears({ type: 'release', ...one });
    self.tell({ type: 'cleaned', ...one });
    expect(self.sends()).toEqual([]);
    expect(self.of('exit')).toMatchObject([{ why: 'drained' }]);
  });

  it('stops now: halts what runs, delivers what it can, ends in any case', () => {
    const self = running(1).tell({ type: 'drain' }).tell({ type: 'stop' });
    expect(self.of('halt')).toHaveLength(1);
    self.tell({ type: 'timer', name: 'stop' });
    expect(self.of('exit')).toMatchObject([{ why: 'stopped' }]);
    const away = running(1).closed(1006).tell({ type: 'stop' });
    expect(away.of('exit')).toEqual([]);
    away.tell({ type: 'journaled', ...one, seq: 2, finished: true });
    expect(away.of('exit')).toMatchObject([{ why: 'stopped' }]);
  });
});

describe('a journal', () => {
  it('sends only what is on disk, within the window', () => {
    const self = worker()
      .opens()
      .hears({ type: 'assign', ...one, plan });
    expect(self.pumpOf()).toBeUndefined();
    self.tell({ type: 'journaled', ...one, seq: 5, finished: false });
    expect(self.pumpOf()).toMatchObject({ from: 1, bytes: 1000 });
    const full = { type: 'pumped', ...one, pump: 1, records: [{ seq: 1, bytes: 1500 }] } as const;
    expect(self.tell(full).commands).toEqual([]);
    self.hears({ type: 'ack', ...one, seq: 1 });
    expect(self.of('trim')).toEqual([{ type: 'trim', ...one, seq: 1 }]);
    expect(self.pumpOf()).toMatchObject({ from: 2, bytes: 1000 });
  });

  it('counts an ack that overtakes the report of what was sent', () => {
    const self = worker()
      .opens()
      .hears({ type: 'assign', ...one, plan });
    self.tell({ type: 'journaled', ...one, seq: 3, finished: false });
    self.hears({ type: 'ack', ...one, seq: 2 });
    const records = [1, 2, 3].map((seq) => ({ seq, bytes: 400 }));
    self.tell({ type: 'pumped', ...one, pump: 1, records });
    expect(self.state.builds.get('1-3')).toMatchObject({
      sent: 3,
      acked: 2,
      inFlight: [{ seq: 3, bytes: 400 }],
    });
  });

  it('rewinds when the master expects another record, and forgets the pump under way', () => {
    const self = running(8, 4);
    const under = self.pumpOf()?.pump ?? 0;
    self.hears({ type: 'expect', ...one, seq: 2 });
    expect(self.pumpOf()).toMatchObject({ from: 3, bytes: 800 });
    const late = { type: 'pumped', ...one, pump: under, records: [{ seq: 8, bytes: 1 }] } as const;
    expect(self.tell(late).state.builds.get('1-3')?.sent).toBe(2);
  });

  it('is not broken by a slow look at what was delivered and trimmed meanwhile', () => {
    const self = running(4);
    self.tell({ type: 'journaled', ...one, seq: 8, finished: false });
    const slow = {
      type: 'unread',
      ...one,
      pump: self.pumpOf()?.pump ?? 0,
      from: 5,
      reason,
    } as const;
    // An earlier connection had brought them to the master.
    self.hears({ type: 'ack', ...one, seq: 6 });
    expect(self.tell(slow).of('abandon')).toEqual([]);
    expect(self.pumpOf()).toMatchObject({ from: 7 });
    expect(self.tell(slow).commands).toEqual([]);
    const lost = { ...slow, pump: slow.pump + 1, from: 7 };
    expect(self.tell(lost).of('abandon')).toMatchObject([{ ...one, reason }]);
    expect(self.of('close')).toHaveLength(1);
  });

  it('goes on after a cut from where the master stands, and learns of a cancel', () => {
    const self = running(8, 6).closed(1006);
    self.tell({ type: 'journaled', ...one, seq: 9, finished: false });
    expect(self.commands).toEqual([]);
    self.tell({ type: 'timer', name: 'reconnect' }).connects();
    expect(self.sends()).toMatchObject([{ builds: [{ ...one, seq: 9, finished: false }] }]);
    self.hears(welcome([{ ...one, verdict: 'continue', seq: 4, cancel: true }]));
    expect(self.pumpOf()).toMatchObject({ from: 5 });
    expect(self.of('trim')).toEqual([{ type: 'trim', ...one, seq: 4 }]);
    expect(self.of('cancel')).toHaveLength(1);
    expect(self.sends()).toEqual([{ type: 'credit', add: 1 }]);
  });

  it.each([['stop' as const], [undefined]])('is given up on the verdict %s', (verdict) => {
    const self = running(3).closed(1006);
    self.opens(verdict ? [{ ...one, verdict, seq: 0, cancel: false }] : []);
    expect(self.of('abandon')).toHaveLength(1);
    expect(self.state.builds.get('1-3')?.phase).toBe('leaving');
  });

  it('is given up when the master has what is not here, and the next hello tells', () => {
    const self = running(3).closed(1006);
    self.opens([{ ...one, verdict: 'continue', seq: 7, cancel: false }]);
    expect(self.of('abandon')).toHaveLength(1);
    expect(self.of('close')).toHaveLength(1);
    self.closed(1006).tell({ type: 'timer', name: 'reconnect' }).connects();
    expect(self.sends()).toMatchObject([{ builds: [] }]);
  });

  it('that was found ended in the spool takes no slot', () => {
    const self = worker([{ ...one, first: 4, seq: 9 }]);
    self.opens([{ ...one, verdict: 'continue', seq: 5, cancel: false }]);
    expect(self.pumpOf()).toMatchObject({ from: 6 });
    expect(self.sends()).toEqual([{ type: 'credit', add: 2 }]);
  });

  it('that is taken up keeps its slot, is named as running, and hears of a cancel that it missed', () => {
    const self = worker([{ ...one, first: 4, seq: 9, slot: 1 }]).tell({ type: 'start' });
    self.connects();
    expect(self.sends()).toMatchObject([{ builds: [{ ...one, seq: 9, finished: false }] }]);
    self.hears(welcome([{ ...one, verdict: 'continue', seq: 9, cancel: true }]));
    expect(self.sends()).toEqual([{ type: 'credit', add: 1 }]);
    expect(self.of('cancel')).toMatchObject([{ ...one, reason: { code: 'cancelled' } }]);
    self.hears(assign(2));
    expect(self.of('run')).toMatchObject([{ slot: 0 }]);
    self.tell({ type: 'cleaned', ...one });
    expect(self.sends()).toEqual([{ type: 'credit', add: 1 }]);
  });

  it('that cannot be written any more makes the master look again', () => {
    const self = running(2).tell({ type: 'broken', ...one, reason });
    expect(self.of('abandon')).toHaveLength(1);
    expect(self.of('close')).toHaveLength(1);
  });
});
