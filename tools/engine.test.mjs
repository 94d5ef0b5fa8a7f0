import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findEngine, ownFolder } from './engine.mjs';
import { SetupError, isRoot } from './process.mjs';

describe('the search for an engine', () => {
  const before = process.env.DOCKER_HOST;
  let dir;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'impgem-engine-'))));
  afterEach(() => {
    if (before === undefined) delete process.env.DOCKER_HOST;
    else process.env.DOCKER_HOST = before;
    rmSync(dir, { recursive: true, force: true });
  });

  it('ends with what to do when the one that is named does not answer', async () => {
    process.env.DOCKER_HOST = `unix://${dir}/none.sock`;
    await assert.rejects(findEngine(dir), (error) => {
      assert.ok(error instanceof SetupError);
      assert.match(error.message, /none\.sock, and nothing answers there/);
      assert.match(error.message, /npm start -- --executor host/);
      return true;
    });
  });

  it('takes the one that is named when it answers, and does not end it', async () => {
    const engine = createServer((_, answer) => answer.end('{"Version":"1.2.3"}'));
    const socket = join(dir, 'engine.sock');
    await new Promise((listening) => engine.listen(socket, listening));
    try {
      process.env.DOCKER_HOST = `unix://${socket}`;
      const { host, stop, note } = await findEngine(dir);
      assert.equal(host, `unix://${socket}`);
      assert.equal(note, undefined);
      await stop();
      assert.equal(engine.listening, true);
    } finally {
      await new Promise((closed) => engine.close(closed));
    }
  });

  it('is told by `npm start` in few lines, without a stack, and ends with 1', () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [fileURLToPath(new URL('start.mjs', import.meta.url)), '--once', '--data', dir],
      { encoding: 'utf8', env: { ...process.env, DOCKER_HOST: `unix://${dir}/none.sock` } },
    );
    assert.equal(status, 1, stderr);
    assert.match(stderr, /No Docker Engine: .*\n.*\n.*\n\s+npm start -- --executor host\n$/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });
});

const mode = (path) => statSync(path).mode & 0o777;

describe('the folder of an engine that root starts', () => {
  let dir;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'impgem-engine-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('is its own, and closed', () => {
    const own = join(dir, 'docker');
    ownFolder(own);
    ownFolder(own);
    assert.equal(mode(own), 0o700);
    chmodSync(own, 0o755);
    ownFolder(own);
    assert.equal(mode(own), 0o700);
  });

  it('is refused when somebody else made it, may write into it, or it is a link or a file', () => {
    const made = {
      open: (path) => (mkdirSync(path), chmodSync(path, 0o777)),
      link: (path) => symlinkSync(dir, path),
      dangling: (path) => symlinkSync(join(dir, 'nowhere'), path),
      file: (path) => writeFileSync(path, ''),
      ...(isRoot() ? { foreign: (path) => (mkdirSync(path), chownSync(path, 65_534, 0)) } : {}),
    };
    for (const [name, make] of Object.entries(made)) {
      make(join(dir, name));
      assert.throws(() => ownFolder(join(dir, name)), /cannot hold the engine's socket/);
    }
  });
});
