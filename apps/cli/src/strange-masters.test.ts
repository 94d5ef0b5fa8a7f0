import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { runLine } from './testing/run-line.js';
import {
  aBuild,
  anArtifact,
  aRequest,
  aStep,
  finished,
  problem,
  ScriptedMaster,
} from './testing/scripted-master.js';
import { steering } from './testing/steering.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-cli-'));
  await writeFile(join(folder, 'farm.yml'), 'builders: {}\n');
});
afterAll(() => rm(folder, { recursive: true }));

/** Every command that asks a master, in a form that it can answer; those that only a live socket ends are elsewhere. */
const commands = (): string[][] => [
  ['builders'],
  ['builds'],
  ['show', '1'],
  ['show', 'hello#1'],
  ['artifacts', '1'],
  ['workers'],
  ['workers', 'add', 'box'],
  ['workers', 'revoke', 'box'],
  ['workers', 'rotate', 'box'],
  ['token'],
  ['token', 'create', 'ci'],
  ['token', 'revoke', 'x'],
  ['audit'],
  ['retention', '--dry-run'],
  ['cancel', '1'],
  ['cancel', '--request', '1'],
  ['apply', join(folder, 'farm.yml')],
  ['trigger', 'hello'],
  ['logs', '1'],
  ['logs', '1', '--tail', '3'],
  ['logs', '1', '--search', 'x'],
];

/** What a hostile worker, builder or proxy could get a terminal to do. */
const HOSTILE =
  '\u001b]0;owned\u0007\u001b]52;c;ZXZpbA==\u001b\\\u009b2J\u009d0;t\u009c\u001b[2J\u001bc\r\b\u007f\u0085\u202eevil\u2066\u001bP1$r\u001b\\\u001b';
/** Words that steer the command itself. */
const KEPT = /^(\d{4}-.*Z|running|finished|success|failure|online|stdout|log|run|hello)$/;

/** The same answer with something hostile in every text of it. */
function hostile(answer: unknown): unknown {
  if (typeof answer === 'string') return KEPT.test(answer) ? answer : `${answer}${HOSTILE}`;
  if (Array.isArray(answer)) return answer.map(hostile);
  if (typeof answer !== 'object' || answer === null) return answer;
  return Object.fromEntries(
    Object.entries(answer).map(([key, value]) => [
      key,
      key === 'code' || key === 'next' ? value : hostile(value),
    ]),
  );
}

const reason = { code: 'x', message: 'why' };
const step = aStep(0, 'step', { ...finished('failure'), reason, exitCode: 1 });
const build = aBuild({
  state: 'finished',
  result: 'failure',
  reason,
  properties: { a: 'b' },
  steps: [step],
  artifacts: [anArtifact('out', Buffer.from(''), 'aa')],
});
const worker = {
  id: 'a',
  name: 'w',
  state: 'online',
  executor: 'docker',
  labels: ['l'],
  slots: 1,
  running: 0,
  diskFree: 1,
  lowDisk: 'full',
  lastSeenAt: '2026-01-01T00:00:00Z',
  version: '1',
};
const page = (...items: unknown[]) => ({ items, next: null });
const ANSWERS: Record<string, unknown> = {
  'GET /builders': page({ name: 'b', pending: 0, running: 0, description: 'd', lastBuild: build }),
  'GET /builds': page(build),
  'GET /builds/1': build,
  'GET /builders/hello/builds/1': build,
  'GET /builds/1/artifacts': page(...build.artifacts),
  'GET /workers': page(worker),
  'POST /registration-tokens': { token: 'igr', expiresAt: 'soon', usesLeft: 1 },
  'DELETE /workers/box': {},
  'POST /workers/box/rotate': { token: 'igw' },
  'GET /tokens': page({ id: 'i', name: 'n', scopes: ['read'], createdAt: null, expiresAt: 'e' }),
  'POST /tokens': { id: 'i', token: 'igt' },
  'DELETE /tokens/x': {},
  'GET /audit': page({ at: 'a', actor: 'b', action: 'c', target: 'd', detail: { e: 'f' } }),
  'GET /retention': { builders: [{ builder: 'b', logs: 1 }], bytes: 1, more: false, disk: {} },
  'POST /builds/1/cancel': build,
  'POST /build-requests/1/cancel': aRequest(),
  'PUT /farm': { version: 1, changed: true, builders: ['b'] },
  'POST /build-requests': aRequest(),
  'GET /builds/1/steps/0/log/search': {
    matches: [{ line: 1, at: 'a', text: 'xyz', start: 0, end: 1 }],
    next: null,
  },
};

describe('on a terminal', () => {
  let master: ScriptedMaster;
  let url: string;
  beforeEach(async () => {
    master = new ScriptedMaster();
    url = await master.start();
    master.files.set('/builds/1/steps/0/log', Buffer.from(`one ${HOSTILE}\ntwo`));
    for (const [call, answer] of Object.entries(ANSWERS)) master.answers.set(call, hostile(answer));
  });
  afterEach(() => master.stop());

  const line = async (...argv: string[]) => {
    const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', ...argv], { tty: true });
    return { code: await code, ...said };
  };

  it('no command shows what would steer it, whatever field it stands in', async () => {
    for (const argv of commands())
      for (const flags of [[], ['--json']]) {
        const { code, out, err } = await line(...flags, ...argv);
        expect([argv, code, err]).toEqual([argv, 0, err]);
        expect([argv, steering(out), steering(err)]).toEqual([argv, [], []]);
      }
  });

  it('no refusal does', async () => {
    const problems = [{ path: `p${HOSTILE}`, message: `m${HOSTILE}`, line: 1, column: 1 }];
    for (const call of Object.keys(ANSWERS))
      master.answers.set(call, problem('invalid-farm-file', 400, `no${HOSTILE}`, problems));
    for (const argv of commands()) {
      const { code, out, err } = await line(...argv);
      expect([argv, code]).toEqual([argv, 3]);
      expect([argv, steering(out), steering(err)]).toEqual([argv, [], []]);
    }
  });

  it('no build that is watched does, as text or as JSON', async () => {
    for (const argv of [
      ['watch', '1'],
      ['--json', 'watch', '1'],
      ['logs', '1', '--follow'],
    ]) {
      const running = line(...argv);
      const log = await master.log(1, 0);
      for (const piece of [`a${HOSTILE}\n`, '\u001b', ']0;x\u0007', '10%\r20%', '\r30%\n'])
        log.write(piece);
      log.end();
      const { out, err } = await running;
      expect([argv, steering(out), steering(err)]).toEqual([argv, [], []]);
      if (argv[0] !== '--json') expect(out).not.toMatch(/10%|20%/);
      expect(out).toContain('30%');
      master.subscriptions.length = 0;
    }
  });

  it('a log is shown byte by byte when that is asked for, and in a pipe', async () => {
    const bytes = Buffer.from([0x61, 0x1b, 0x5b, 0x32, 0x4a, 0x9b, 0xff, 0x0d, 0x00, 0x0a]);
    master.files.set('/builds/1/steps/0/log', bytes);
    expect((await line('logs', '1', '--raw')).out).toBe(bytes.toString('latin1'));
    const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', 'logs', '1']);
    await code;
    expect(said.out).toBe(bytes.toString('latin1'));
  });
});

/** Runs it; what it said is short, and no stack. */
async function fails(url: string, argv: string[]) {
  const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', ...argv]);
  const ended = await code;
  expect([argv, said.err]).not.toEqual([argv, expect.stringMatching(/\n\s+at /)]);
  expect([argv, said.err.split('\n').length <= 6]).toEqual([argv, true]);
  return { code: ended, err: said.err };
}

describe('with something at the address that is no master', () => {
  let server: Server | undefined;
  afterEach(async () => {
    server?.closeAllConnections();
    await new Promise((closed) => (server ? server.close(closed) : closed(undefined)));
    server = undefined;
  });
  async function serve(listener: RequestListener): Promise<string> {
    server = createServer(listener).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  const details: string[] = [];
  afterAll(async () => {
    for (const file of details) await rm(join(file, '..'), { recursive: true });
  });

  it('every command says so in a line, and ends with 4', async () => {
    const html = '<!doctype html>\n<html>\n  <title>Sign in</title>\n</html>\n'.repeat(50);
    let status = 200;
    const url = `http://${await serve((_, response) => {
      response.writeHead(status, { 'content-type': 'text/html' }).end(html);
    })}`;
    for (status of [200, 502])
      for (const argv of commands()) {
        if (status === 200 && argv[0] === 'logs') continue;
        const { code, err } = await fails(url, argv);
        expect([argv, code, err]).toEqual([argv, 4, expect.stringContaining('not from a master')]);
      }
  });

  it('JSON that is cut, or of another shape, is no stack, and is kept for who asks', async () => {
    let text = '';
    const url = `http://${await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    })}`;
    for (text of ['{"items":[', 'null', '{}', '{"items":[null]}'])
      for (const argv of commands()) {
        const { code, err } = await fails(url, argv);
        expect([argv, text, code === 0 || code === 2 || code === 4]).toEqual([argv, text, true]);
        const file = /details are in (\S+)/.exec(err)?.[1];
        if (file) details.push(file);
      }
    expect(details).not.toEqual([]);
  });

  it('a connection that ends in the middle, or none at all, is named', async () => {
    const at = await serve((request, response) => {
      if (request.url?.endsWith('/builders')) return request.socket.destroy();
      response.writeHead(200, { 'content-length': '1000' }).write('{"items":');
      return setImmediate(() => request.socket.destroy());
    });
    for (const [url, argv] of [
      [`http://${at}`, ['builders']],
      [`http://${at}`, ['builds']],
      [`https://${at}`, ['builds']],
      ['http://127.0.0.1:1', ['builds']],
      ['http://no-such-host.invalid', ['builds']],
      ['http://[::1]:1', ['trigger', 'hello', '--watch']],
    ] as const) {
      const { code, err } = await fails(url, [...argv]);
      expect([url, code, err]).toEqual([
        url,
        4,
        expect.stringContaining(`${url} does not answer: `),
      ]);
    }
  });

  it('Ctrl-C ends the wait for an answer', async () => {
    const asked = new AbortController();
    const url = `http://${await serve(() => asked.abort())}`;
    const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', 'builds'], {
      signal: asked.signal,
    });
    expect([await code, said.err]).toEqual([130, '']);
  });
});

it('arguments that are no numbers, ranges or tokens are refused before anything is asked', async () => {
  for (const argv of [
    ['builds', '-n', 'abc'],
    ['builds', '-n', 'NaN'],
    ['builds', '-n', '0'],
    ['builds', '-n', '201'],
    ['builds', '-n', '1e2'],
    ['builds', '-n', ''],
    ['audit', '-n', '-1'],
    ['cancel', '--request', 'abc'],
    ['cancel', 'x y'],
    ['logs', '1', '--tail', 'x'],
    ['logs', '1', '--tail', '-1'],
    ['logs', '1', '--lines', 'a-b'],
    ['logs', '1', '--lines', '-'],
    ['trigger', 'hello', '--priority', '1.5'],
    ['workers', 'add', '--uses', '0'],
    ['workers', 'add', '--expires', 'x'],
    ['token', 'create', 'x', '--expires', '1.5'],
    ['up', '--port', '65536'],
    ['up', '--port', 'x'],
    ['up', '--executor', 'nope'],
    ['lint', '/no/such/file'],
    ['lint', '/'],
    ['apply', '/no/such/file'],
    ['--url', 'http://[', 'builds'],
    ['--url', 'file:///etc/passwd', 'builds'],
    ['--token', 'a\nb', 'builds'],
    ['--token', 'ä', 'builds'],
  ]) {
    const { said, code } = runLine(['--url', 'http://127.0.0.1:1', '--token', 'x', ...argv]);
    expect([argv, await code, said.err]).toEqual([argv, 2, expect.stringMatching(/^error: .*\n/)]);
    expect(said.err).not.toMatch(/\n\s+at /);
  }
});
