import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { readFarmFile } from '@impgem/pipeline';
import { Child } from './child.js';
import { FarmFolder } from './farm-folder.js';
import { choosePort } from './port.js';
import { identify } from './program-identity.js';
import { exampleOf } from '../programs.js';
import { createTerminal } from '../terminal.js';
import { quickstartFile } from './quickstart.js';
import { runProgram } from './run-program.js';
import { sampleRepository } from './sample-repository.js';

let folder: string;
const signal = new AbortController().signal;
const soon = { ms: 5000, signal };

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'impgem-up-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function program(text: string): Promise<Child> {
  const file = join(folder, 'program.mjs');
  await writeFile(file, text);
  return new Child('worker', file, {}, join(folder, 'logs', 'worker.log'));
}
const never = async () => undefined;
const isAlive = (pid: number | undefined) => {
  try {
    process.kill(pid ?? 0, 0);
    return true;
  } catch {
    return false;
  }
};

describe('a child of impgem up', () => {
  it('is awaited by a line of its log, and stops when asked', async () => {
    const child = await program(
      "process.on('SIGTERM', () => process.exit(0)); console.error('ready 7'); setInterval(() => {}, 1000)",
    );
    expect(await child.waitFor('ready', { line: (l) => /ready (\d)/.exec(l)?.[1] }, soon)).toBe(
      '7',
    );
    await child.stop();
    expect([child.end, isAlive(child.pid)]).toEqual(['exit code 0', false]);
    expect(await readFile(child.logFile, 'utf8')).toBe('ready 7\n');
  });

  it('tells the end of its log when it ends too early', async () => {
    const child = await program(
      `console.error(JSON.stringify({ msg: 'no engine', err: { message: 'no socket' } })); process.exit(3)`,
    );
    await expect(child.waitFor('online', { poll: never }, soon)).rejects.toThrow(
      /the worker ended before it was online \(exit code 3\)[^]*no engine: no socket[^]*worker\.log/,
    );
  });

  it('gives up on one that does not get ready, and on Ctrl-C', async () => {
    const child = await program('setInterval(() => {}, 1000)');
    await expect(child.waitFor('online', { poll: never }, { ms: 0, signal })).rejects.toThrow(
      'is not online',
    );
    const stop = AbortSignal.abort();
    await expect(child.waitFor('online', { poll: never }, { ms: 9, signal: stop })).rejects.toThrow(
      'interrupted',
    );
    await child.stop();
    expect(isAlive(child.pid)).toBe(false);
  });
});

describe('the port', () => {
  it('is the one that was asked for, or an error that names the flag', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await expect(choosePort('127.0.0.1', port, 8010)).rejects.toThrow(
      `port ${port} is taken by another program; choose one with --port`,
    );
    expect(await choosePort('127.0.0.1', undefined, port)).toBeGreaterThan(port);
    server.close();
    await once(server, 'close');
    expect(await choosePort('127.0.0.1', port, 8010)).toBe(port);
  });
});

const idle = (...args: string[]) => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)', ...args]);
  return { child, gone: once(child, 'exit'), pid: child.pid ?? 0 };
};
const upJson = (text: object) =>
  writeFile(join(folder, 'up.json'), JSON.stringify(text), { mode: 0o600 });
const claim = async () => {
  const said: string[] = [];
  await new FarmFolder(folder, true).claim((line) => said.push(line));
  return said;
};

describe('the farm folder', () => {
  it('is refused while a farm runs in it', async () => {
    const other = idle();
    const url = 'http://127.0.0.1:8010';
    await upJson({ up: identify(other.pid), url, programs: [] });
    await expect(claim()).rejects.toThrow(
      /a farm runs in .* already, at http:\/\/127\.0\.0\.1:8010 \(pid/,
    );
    other.child.kill('SIGKILL');
    await other.gone;
    expect(await claim()).toEqual([]);
  });

  it('is refused when somebody else has filled it, unless it is named', async () => {
    await writeFile(join(folder, 'client.json'), '{}');
    const found = new FarmFolder(folder, false);
    await expect(found.claim(() => {})).rejects.toThrow(
      `found ${folder}, which is not used: it was not made here`,
    );
    await claim();
    await found.claim(() => {});
  });

  it('stops what a killed farm left behind', async () => {
    const left = idle('/x/master/main.js');
    const farm = new FarmFolder(folder, true);
    farm.write({ url: '', programs: [{ pid: left.pid, file: '/x/master/main.js' }] });
    expect(await claim()).toEqual([expect.stringContaining('/x/master/main.js')]);
    await left.gone;
  });

  it('stops what a farm of an earlier version left behind', async () => {
    const left = idle('/x/master/main.js');
    await upJson({ pid: 2 ** 22 + 1, programs: [{ pid: left.pid, file: '/x/master/main.js' }] });
    expect(await claim()).toEqual([expect.stringContaining('/x/master/main.js')]);
    await left.gone;
  });

  it('ends no process that it cannot prove to be its own, whatever up.json says', async () => {
    const stranger = idle('/x/master/main.js');
    const { pid } = stranger;
    const { start = '', exe = '' } = identify(pid) ?? {};
    for (const program of [
      { pid, file: '' },
      { pid, file: 'node' },
      { pid, file: '/x' },
      { pid, file: 'main.js' },
      { pid, file: '/x/master/main.js', start: '', exe },
      { pid, file: '/x/master/main.js', start: `${Number(start) + 1}`, exe },
      { pid, file: '/x/master/main.js', start, exe: '/bin/false' },
      { pid: String(pid), file: '/x/master/main.js' },
      { pid: -pid, file: '/x/master/main.js' },
      { pid: -1, file: '' },
      { pid: 0, file: '' },
      { file: '' },
      null,
      7,
    ])
      await upJson({ pid, url: '', programs: [program] }).then(claim);
    for (const text of ['null', '7', '[]', '{"programs":{}}', '{', '{"up":{"pid":1}}']) {
      await writeFile(join(folder, 'up.json'), text);
      expect(await claim()).toEqual([]);
    }
    expect(isAlive(pid)).toBe(true);
    stranger.child.kill('SIGKILL');
    await stranger.gone;
  });

  it('tells other commands where its farm is', async () => {
    new FarmFolder(folder, true).write({ url: 'http://127.0.0.1:8011', programs: [] });
    expect(JSON.parse(await readFile(join(folder, 'client.json'), 'utf8'))).toEqual({
      url: 'http://127.0.0.1:8011',
      tokenFile: 'master/admin-token',
    });
  });
});

describe('the quick start', () => {
  it('has a farm file that is right, with the repository and the image of this machine', async () => {
    const text = await readFile(exampleOf('farm.yml'), 'utf8');
    const { farm, problems } = readFarmFile(
      quickstartFile(text, '/a b/$&/q.git', 'local/busybox:1'),
    );
    expect(problems).toEqual([]);
    expect(farm?.builders.get('quickstart')).toMatchObject({
      source: { git: '/a b/$&/q.git', ref: 'main' },
      image: 'local/busybox:1',
    });
  });

  it('makes a repository of a folder, and a commit only when something changed', async () => {
    const project = join(folder, 'project');
    const repository = join(folder, 'r.git');
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', repository, ...args], { encoding: 'utf8' });
    execFileSync('mkdir', [project]);
    await writeFile(join(project, 'a.txt'), 'one');
    await sampleRepository(project, repository);
    await sampleRepository(project, repository);
    expect(git('rev-list', '--count', 'main').trim()).toBe('1');
    await writeFile(join(project, 'b.txt'), 'two');
    await sampleRepository(project, repository);
    expect(git('rev-list', '--count', 'main').trim()).toBe('2');
    expect(git('ls-tree', '-r', '--name-only', 'main')).toBe('a.txt\nb.txt\n');
  });
});

describe('a program that is run in our place', () => {
  it('steers no terminal with its log', async () => {
    const file = join(folder, 'program.mjs');
    await writeFile(
      file,
      "process.stderr.write('a\\u009b2Jb\\n\\u001b]0;c\\u0007d'); process.exitCode = 7",
    );
    const said: string[] = [];
    const sink = { write: (text: unknown) => said.push(String(text)), isTTY: true };
    expect(await runProgram(createTerminal(sink, sink, true), file, {})).toBe(7);
    expect(said).toEqual(['ab\n', 'd\n']);
  });
});
