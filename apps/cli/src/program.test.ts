import { createHash } from 'node:crypto';
import {
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import {
  aBuild,
  anArtifact,
  aRequest,
  aStep,
  finished,
  problem,
  running,
  ScriptedMaster,
} from './testing/scripted-master.js';
import { runLine } from './testing/run-line.js';

let master: ScriptedMaster;
let url: string;
let folder: string;

beforeEach(async () => {
  master = new ScriptedMaster();
  url = await master.start();
  folder = await mkdtemp(join(tmpdir(), 'impgem-cli-'));
});
afterEach(async () => {
  jest.restoreAllMocks();
  await master.stop();
  await rm(folder, { recursive: true });
});

const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();

/** A command line with this master's address and a token. */
async function impgem(...argv: string[]) {
  const { said, code } = runLine(['--url', url, '--token', 'igt_a_b', ...argv]);
  return { code: await code, ...said };
}
async function file(text: string): Promise<string> {
  await writeFile(join(folder, 'farm.yml'), text);
  return join(folder, 'farm.yml');
}

describe('the command line', () => {
  it('ends with 2 for a command, an option or an argument that is wrong', async () => {
    for (const argv of [
      ['nope'],
      ['builds', '--nope'],
      ['trigger'],
      ['show', 'x y'],
      ['builds', '--state', 'nope'],
    ])
      expect([argv, (await impgem(...argv)).code]).toEqual([argv, 2]);
    expect((await impgem('trigger', 'hello', '-p', 'novalue')).err).toContain(
      'write -p name=value',
    );
  });

  it('ends with 0 for help and version, and lists the exit codes', async () => {
    expect((await impgem('--version')).code).toBe(0);
    expect((await impgem('help', 'trigger')).out).toContain('--watch');
    expect((await impgem('exit-codes')).out).toMatch(/^ {2}0 {2}done/m);
  });

  it('ends with 4 and says what to check when no master answers', async () => {
    const { said, code } = runLine(['--url', 'http://127.0.0.1:1', '--token', 'x', 'builders']);
    expect(await code).toBe(4);
    expect(said.err).toContain('http://127.0.0.1:1 does not answer');
    expect(said.err).toContain('impgem up');
    expect(said.out).toBe('');
  });

  it('ends with 3 and says where the token came from when it is wrong', async () => {
    master.answers.set('GET /builders', problem('unauthenticated', 401, 'no valid token'));
    const { code, err } = await impgem('builders');
    expect([code, err]).toEqual([
      3,
      expect.stringMatching(/no valid token[^]*the token came from --token/),
    ]);
    expect(master.asked[0]?.authorization).toBe('Bearer igt_a_b');
  });

  it('tells the problems of a refused request', async () => {
    const problems = [{ path: 'properties.hwo', message: 'did you mean who?' }];
    master.answers.set(
      'POST /build-requests',
      problem('undeclared-property', 422, 'no such property', problems),
    );
    const { code, err } = await impgem('trigger', 'hello', '-p', 'hwo=x=y');
    expect(code).toBe(3);
    expect(err).toContain('properties.hwo: did you mean who?');
    expect(master.asked[0]?.body).toEqual({ builder: 'hello', properties: { hwo: 'x=y' } });
  });

  it('lints without a master, with line, column and a caret', async () => {
    const name = await file(
      'builders:\n  hello:\n    imgae: busybox\n    steps: [{ run: make }]\n',
    );
    const { said, code } = runLine(['lint', name]);
    expect(await code).toBe(3);
    expect(said.err).toBe(
      `${name}:3:5 builders.hello.imgae: a builder has no key imgae; did you mean image?\n` +
        '    3 |     imgae: busybox\n      |     ^\n',
    );
    const right = runLine(['lint', await file('builders: { a: { steps: [{ run: make }] } }')]);
    expect([await right.code, right.said.out]).toEqual([0, '']);
    const json = runLine(['--json', 'lint', await file('builders: []')]);
    expect(await json.code).toBe(3);
    expect(JSON.parse(json.said.out)).toMatchObject({ problems: [{ line: 1, column: 11 }] });
    expect(await runLine(['lint', join(folder, 'none.yml')]).code).toBe(2);
  });

  it('applies a farm file, and shows the problems that the master finds', async () => {
    const name = await file('builders: { a: { steps: [{ run: make }] } }');
    master.answers.set('PUT /farm', { version: 2, changed: true, builders: ['a'] });
    expect(await impgem('apply', name)).toMatchObject({
      code: 0,
      out: 'version 2 is in force now: a\n',
    });
    const problems = [{ path: 'builders.a', message: 'is wrong', line: 1, column: 13 }];
    master.answers.set('PUT /farm', problem('invalid-farm-file', 422, 'problems', problems));
    const { code, err } = await impgem('apply', name);
    expect([code, err]).toEqual([3, expect.stringContaining(`${name}:1:13 builders.a: is wrong`)]);
  });

  it('prints lists as tables, or as JSON', async () => {
    master.answers.set('GET /builds', {
      items: [aBuild({ result: 'failure', state: 'finished' })],
      next: null,
    });
    expect((await impgem('builds')).out).toMatch(/id +build +result[^]*1 +hello #1 +failure/);
    expect(JSON.parse((await impgem('--json', 'builds')).out)).toMatchObject([{ id: 1 }]);
  });

  it('shows no escape sequence of a build but colours', async () => {
    const reason = {
      code: 'x',
      message: '\u001b]0;title\u0007\u001b[31mred\u001b[0m\u001b[2Jgone',
    };
    master.answers.set('GET /builds/1', aBuild({ reason }));
    const { out } = await impgem('show', '1');
    expect(out).toContain('\u001b[31mred\u001b[0mgone');
    expect(out).not.toMatch(/title|\[2J/);
  });

  it('finds a build by builder and number', async () => {
    master.answers.set('GET /builders/hello/builds/3', aBuild({ id: 17 }));
    master.answers.set('GET /builds/17', aBuild({ id: 17, number: 3 }));
    expect((await impgem('show', 'hello#3')).out).toContain('hello #3');
  });

  it('tells which workers are silent, and since when', async () => {
    const worker = { running: 1, slots: 2, executor: 'docker', labels: ['big'], version: '0.1.0' };
    const items = [
      { ...worker, name: 'well', state: 'online', lastSeenAt: ago(0) },
      {
        ...worker,
        name: 'bad',
        state: 'quarantined',
        lastSeenAt: ago(0),
        quarantine: { until: '2100-01-01T00:00:00.000Z', strikes: 3, reason: null },
      },
      { ...worker, name: 'slow', state: 'suspect', lastSeenAt: ago(20) },
      { ...worker, name: 'gone', state: 'lost', lastSeenAt: ago(180) },
    ].map((one) => ({ ...one, diskFree: null, lowDisk: null, spooled: null }));
    master.answers.set('GET /workers', { items, next: null });
    const { out, err } = await impgem('workers');
    expect(out).toMatch(/^bad +quarantined /m);
    expect(err).toMatch(/^bad is given no builds until 2100-01-01 00:00:00 UTC, after 3 builds/m);
    expect(out).toMatch(/^well +online +1\/2 /m);
    expect(out).toMatch(/^slow +suspect +1\/2 .* [23]\d s ago/m);
    expect(out).toMatch(/^gone +lost +1\/2 .* 3 min ago/m);
    const json = JSON.parse((await impgem('--json', 'workers')).out) as { state: string }[];
    expect(json.map(({ state }) => state)).toEqual(['online', 'quarantined', 'suspect', 'lost']);
  });

  it('tells whose output is behind, when it is much and waited for', async () => {
    const MiB = 1024 ** 2;
    const worker = { running: 1, slots: 2, executor: 'docker', labels: [], version: '0.1.0' };
    const items = [
      { ...worker, name: 'behind', state: 'online', spooled: 120 * MiB },
      { ...worker, name: 'busy', state: 'online', spooled: MiB - 1 },
      { ...worker, name: 'older', state: 'online', spooled: null },
      { ...worker, name: 'gone', state: 'offline', spooled: 5 * MiB },
    ].map((one) => ({ ...one, lastSeenAt: ago(0), diskFree: null, lowDisk: null }));
    master.answers.set('GET /workers', { items, next: null });
    const { err } = await impgem('workers');
    expect(err).toBe('behind has 120.0 MiB of output to send\n');
  });

  it('gives a worker builds again', async () => {
    master.answers.set('POST /workers/box/resume', { name: 'box', state: 'online' });
    expect((await impgem('workers', 'resume', 'box')).err).toBe('box is online\n');
  });

  it('shows what to run on a new machine', async () => {
    master.answers.set('POST /registration-tokens', {
      token: 'igr_a_b',
      usesLeft: 1,
      expiresAt: 'tomorrow',
    });
    const { out } = await impgem('workers', 'add', 'box');
    expect(out).toBe(
      `export IMPGEM_MASTER_URL=${url}\nexport IMPGEM_REGISTRATION_TOKEN=igr_a_b\nnode apps/cli/bin/impgem.js worker --name box\n`,
    );
  });
});

describe('logs', () => {
  beforeEach(() => {
    master.answers.set('GET /builds/1', aBuild({ steps: [aStep(0, 'test')] }));
  });

  it('--search prints the lines with their numbers, of all answers', async () => {
    const match = {
      offset: 0,
      length: 2,
      stream: 'stdout',
      at: 'T',
      text: 'is ok',
      start: 3,
      end: 5,
    };
    const result = {
      matches: [
        { ...match, line: 7 },
        { ...match, line: 9 },
      ],
      next: null,
    };
    master.answers.set('GET /builds/1/steps/0/log/search', result);
    expect(await impgem('logs', '1', '--search', 'ok')).toMatchObject({
      code: 0,
      out: '7:is ok\n9:is ok\n',
    });
    const { out } = await impgem('--json', 'logs', '1', '--search', 'ok', '--regex');
    expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({ step: 0, line: 7, text: 'is ok' });
  });

  it('--follow prints the log to its end, from where it is asked to', async () => {
    const whole = runLine(['--url', url, '--token', 'x', 'logs', '1', '--follow']);
    const log = await master.log(1, 0);
    log.write('one\ntw');
    log.write('o\n', 'stderr');
    log.end();
    expect([await whole.code, whole.said.out]).toEqual([0, 'one\ntwo\n']);

    master.subscriptions.length = 0;
    const argv = ['logs', '1', '--follow', '--timestamps', '--stream', 'stderr'];
    const some = runLine(['--url', url, '--token', 'x', ...argv]);
    const again = await master.log(1, 0);
    again.write('one\n');
    again.write('t', 'stderr', '2026-01-01T00:00:02Z');
    again.write('wo', 'stderr', '2026-01-01T00:00:03Z');
    again.end();
    expect([await some.code, some.said.out]).toEqual([0, '2026-01-01T00:00:02Z two\n']);
  });

  it('--follow ends with Ctrl-C', async () => {
    const abort = new AbortController();
    const argv = ['--url', url, '--token', 'x', 'logs', '1', '--follow'];
    const { code } = runLine(argv, { signal: abort.signal });
    await master.log(1, 0);
    abort.abort();
    expect(await code).toBe(130);
  });

  it('refuses what does not go together', async () => {
    for (const argv of [
      ['--lines', '1-2', '--tail', '3'],
      ['--tail', 'x'],
      ['--search', 'a', '--follow'],
      ['--regex'],
    ])
      expect([argv, (await impgem('logs', '1', ...argv)).code]).toEqual([argv, 2]);
  });
});

describe('artifacts --archive', () => {
  it('fetches all of them as one file, by the ending of its name', async () => {
    master.files.set('/builds/1/artifacts.tar', Buffer.from('a tar'));
    const target = join(folder, 'new/all.tar');
    expect(await impgem('artifacts', '1', '--archive', target)).toMatchObject({
      code: 0,
      out: `${target}\n`,
    });
    expect(await readFile(target, 'utf8')).toBe('a tar');
    expect((await impgem('artifacts', '1', '--archive', target)).code).toBe(3);
    expect((await impgem('artifacts', '1', '--archive', target, '-f')).code).toBe(0);
    expect((await impgem('artifacts', '1', '--archive', join(folder, 'all.rar'))).code).toBe(2);
    expect((await impgem('artifacts', '1', '--archive', join(folder, 'no.zip'))).code).not.toBe(0);
    expect((await readdir(folder)).toSorted()).toEqual(['new']);
  });
});

describe('artifacts --download', () => {
  const content = Buffer.from('binary');
  const sha256 = createHash('sha256').update(content).digest('hex');
  const offer = (path: string, hash = sha256) => {
    master.answers.set('GET /builds/1/artifacts', {
      items: [anArtifact(path, content, hash)],
      next: null,
    });
    master.files.set(`/builds/1/artifacts/${path}`, content);
  };

  it('fetches a file with its mode, but never set-uid, and checks it', async () => {
    offer('out/a.bin');
    expect(await impgem('artifacts', '1', '-d', folder)).toMatchObject({
      code: 0,
      out: `${join(folder, 'out/a.bin')}\n`,
    });
    expect(await readFile(join(folder, 'out/a.bin'))).toEqual(content);
    expect((await stat(join(folder, 'out/a.bin'))).mode & 0o7777).toBe(0o755);
  });

  it('keeps nothing of a file whose bytes are wrong', async () => {
    offer('a.bin', 'f'.repeat(64));
    const { code, err } = await impgem('artifacts', '1', '-d', folder);
    expect([code, err]).toEqual([3, expect.stringContaining('"a.bin" came wrong')]);
    expect(await readdir(folder)).toEqual([]);
  });

  it.each(['../a', '/a', 'a/../../b', 'a//b', '.', 'a\\b'])('refuses the path %s', async (path) => {
    offer(path);
    expect((await impgem('artifacts', '1', '-d', join(folder, 'in'))).code).toBe(3);
    expect(await readdir(folder)).toEqual(expect.not.arrayContaining(['a', 'b']));
  });

  it('obeys the umask', async () => {
    offer('a.bin');
    const before = process.umask(0o077);
    try {
      expect((await impgem('artifacts', '1', '-d', folder)).code).toBe(0);
    } finally {
      process.umask(before);
    }
    expect((await stat(join(folder, 'a.bin'))).mode & 0o777).toBe(0o700);
  });

  it('overwrites nothing with other content unless that is asked for', async () => {
    offer('a.bin');
    await writeFile(join(folder, 'a.bin'), 'mine');
    const { code, err } = await impgem('artifacts', '1', '-d', folder);
    expect([code, err]).toEqual([3, expect.stringContaining('--force')]);
    expect(await readFile(join(folder, 'a.bin'), 'utf8')).toBe('mine');
    expect((await impgem('artifacts', '1', '-d', folder, '--force')).code).toBe(0);
    expect(await readFile(join(folder, 'a.bin'))).toEqual(content);
    // The same once more is no reason to stop.
    expect((await impgem('artifacts', '1', '-d', folder)).code).toBe(0);
    expect(await readdir(folder)).toEqual(['a.bin']);
  });

  it.each([
    '.git/hooks/post-checkout',
    'deep/.GIT/config',
    '.Git',
    '.g\u200cit/config',
    'git~1/config',
    '.git::$INDEX_ALLOCATION/config',
    '.hg/hgrc',
    'x/.impgem/client.json',
  ])('never writes %j', async (path) => {
    offer(path);
    expect((await impgem('artifacts', '1', '-d', folder, '--force')).code).toBe(3);
    expect(await readdir(folder)).toEqual([]);
  });

  it('never writes into the own folder of git, and fetches the rest past what it refuses', async () => {
    await mkdir(join(folder, '.git/hooks'), { recursive: true });
    offer('post-checkout');
    expect((await impgem('artifacts', '1', '-d', join(folder, '.git/hooks'))).code).toBe(3);
    expect(await readdir(join(folder, '.git/hooks'))).toEqual([]);
    const paths = ['c:x', 'CON', 'a', 'A', 'b\u202e', `${'l'.repeat(254)}/x`, 'z'];
    const items = paths.map((path) => anArtifact(path, content, sha256));
    master.answers.set('GET /builds/1/artifacts', { items, next: null });
    for (const path of paths) master.files.set(`/builds/1/artifacts/${path}`, content);
    const to = join(folder, 'to');
    const { code, err } = await impgem('artifacts', '1', '-d', to);
    expect(code).toBe(3);
    expect(err).toContain('4 of 7 artifacts were not fetched');
    expect(err).toMatch(/"c:x".*"CON".*"A".*"b.u202e"/s);
    expect((await readdir(to)).toSorted()).toEqual(['a', 'l'.repeat(254), 'z']);
  });

  it('removes what an earlier run left half done', async () => {
    offer('a.bin');
    const name = createHash('sha256').update('a.bin').digest('hex').slice(0, 16);
    await writeFile(join(folder, `.impgem-${name}.part`), 'half');
    expect((await impgem('artifacts', '1', '-d', folder)).code).toBe(0);
    expect(await readdir(folder)).toEqual(['a.bin']);
  });

  it('does not write through a link that lies in the folder', async () => {
    await symlink(tmpdir(), join(folder, 'out'));
    offer('out/impgem-escaped');
    expect((await impgem('artifacts', '1', '-d', folder)).code).toBe(3);
    await symlink('/tmp/impgem-escaped', join(folder, 'direct'));
    offer('direct');
    expect((await impgem('artifacts', '1', '-d', folder)).code).toBe(3);
    await expect(lstat('/tmp/impgem-escaped')).rejects.toThrow('ENOENT');
  });
});

const set = (request: ReturnType<typeof aRequest>, ...builds: ReturnType<typeof aBuild>[]) => {
  master.answers.set('POST /build-requests', request);
  master.answers.set('GET /build-requests/1', request);
  for (const build of builds) master.answers.set(`GET /builds/${build.id}`, build);
  master.happen('changed');
};
const attempt = (id: number) => ({ id, number: id, state: 'running' as const, result: null });

describe('trigger --watch', () => {
  it('shows steps and lines as they come, over a cut of the connection, and ends with the result', async () => {
    set(aRequest());
    const { said, code } = runLine(['--url', url, '--token', 'x', 'trigger', 'hello', '--watch']);
    const steps = [aStep(0, 'build', running), aStep(1, 'test')];
    const claimed = aRequest({ state: 'claimed', builds: [attempt(1)] });
    set(claimed, aBuild({ steps }));
    const log = await master.log(1, 0);
    log.write('one\ntw');
    log.write('warn\n', 'stderr', '2026-01-01T00:01:05.5Z');
    while (!said.out.includes('warn')) await new Promise((done) => setTimeout(done, 2));
    master.cut();
    const again = await master.log(1, 0);
    expect(again.from).toBe(11);
    again.write('o\nend');
    again.end();
    steps[0] = aStep(0, 'build', finished('success'));
    steps[1] = aStep(1, 'test', running);
    set(claimed, aBuild({ steps }));
    (await master.log(1, 1)).end();
    steps[1] = aStep(1, 'test', finished('failure', { exitCode: 2 }));
    const over = aBuild({
      steps,
      state: 'finished',
      result: 'failure',
      finishedAt: '2026-01-01T00:00:03Z',
    });
    set(aRequest({ state: 'finished', result: 'failure', builds: [attempt(1)] }), over);
    expect(await code).toBe(1);
    expect(said.out).toBe('    1.00 │ one\n 1:05.50 │ warn\n    1.00 │ two\n    1.00 │ end\n');
    expect(said.err).toMatch(
      /▶ build\n✔ build 2.0 s\n▶ test\n✖ test failure: exit code 2 2.0 s\n✖ hello #1 failure 3.0 s\n$/,
    );
  });

  it('follows a retry', async () => {
    const lost = { code: 'worker-lost', message: 'the worker went away' };
    const first = aBuild({
      state: 'finished',
      result: 'retry',
      reason: lost,
      finishedAt: '2026-01-01T00:00:09Z',
    });
    set(
      aRequest({ state: 'claimed', builds: [attempt(1), attempt(2)] }),
      first,
      aBuild({ id: 2, number: 2, attempt: 2 }),
    );
    const { said, code } = runLine(['--url', url, '--token', 'x', 'trigger', 'hello', '-w']);
    while (!said.err.includes('attempt 2')) await new Promise((done) => setTimeout(done, 2));
    const second = aBuild({ id: 2, number: 2, attempt: 2, state: 'finished', result: 'success' });
    set(
      aRequest({ state: 'finished', result: 'success', builds: [attempt(1), attempt(2)] }),
      second,
    );
    expect(await code).toBe(0);
    expect(said.err).toContain(
      '↻ hello #1 retry: the worker went away 9.0 s\nit is tried again\nhello #2',
    );
  });

  it('fetches what is missing of a log whose end the live socket does not tell', async () => {
    const log = { bytes: 8, lines: 2, finished: true, removed: false, sha256: null };
    const steps = [aStep(0, 'build', finished('success', { log }))];
    master.files.set('/builds/1/steps/0/log', Buffer.from('one\ntwo\n'));
    const over = aBuild({ steps, state: 'finished', result: 'success' });
    set(aRequest({ state: 'finished', result: 'success', builds: [attempt(1)] }), over);
    const watched = impgem('watch', '1');
    await master.log(1, 0);
    // nothing came for a while
    const later = Date.now() + 10_000;
    jest.spyOn(Date, 'now').mockReturnValue(later);
    master.happen('build.changed');
    const { code, out } = await watched;
    expect([code, out]).toEqual([0, '    2.00 │ one\n    2.00 │ two\n']);
  });

  it.each([
    ['cancelled', 6],
    ['exception', 5],
    ['warnings', 0],
  ] as const)('ends a build that is %s with %i', async (result, exit) => {
    set(
      aRequest({ state: 'finished', result, builds: [attempt(1)] }),
      aBuild({ state: 'finished', result }),
    );
    expect((await impgem('watch', '1')).code).toBe(exit);
    expect((await impgem('trigger', 'hello', '-w')).code).toBe(exit);
  });

  it('ends with the result of a request that was cancelled before it was built', async () => {
    set(aRequest({ state: 'finished', result: 'cancelled' }));
    expect((await impgem('trigger', 'hello', '-w')).code).toBe(6);
  });

  it('tells all of it as JSON lines', async () => {
    const steps = [aStep(0, 'skipped', { state: 'finished', result: 'skipped' })];
    set(
      aRequest({ state: 'finished', result: 'success', builds: [attempt(1)] }),
      aBuild({ state: 'finished', result: 'success', steps }),
    );
    const { out } = await impgem('--json', 'trigger', 'hello', '-w');
    const types = out
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect(types).toEqual(['build', 'step.end', 'build.end']);
  });

  it('ends with 130 at Ctrl-C, and says that the build goes on', async () => {
    set(aRequest());
    const stop = new AbortController();
    const { said, code } = runLine(['--url', url, '--token', 'x', 'trigger', 'hello', '-w'], {
      signal: stop.signal,
    });
    while (master.subscriptions.length === 0) await new Promise((done) => setTimeout(done, 2));
    stop.abort();
    expect(await code).toBe(130);
    expect(said.err).toContain('goes on without you');
  });
});
