import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { endEngineObjects, endProcesses } from './ending.mjs';

let folder;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'impgem-ending-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const farm = (name) => ({ 'impgem.farm': name });
const project = (name) => ({ 'com.docker.compose.project': name });

/** Not there, or a zombie that only waits for its parent. */
function ended(pid) {
  try {
    return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

describe('a run that is broken off', { skip: process.platform !== 'linux' }, () => {
  it('leaves no process: not those without a parent, in a session of their own, or deaf to TERM', async () => {
    // each writes down its number, and for `cut`, that everything else is there
    const script = `
      trap '' TERM
      note() { echo $2 >"$1/$3.pid"; }
      setsid sh -c 'trap "" TERM; echo $$ >"$1/orphan.pid"; while :; do sleep 1; done' sh "$1" &
      (cd "$1" && exec env -i /bin/sh -c 'echo $$ >named.pid; trap "" TERM; while :; do sleep 1; done') &
      env -u TMPDIR sh -c 'echo $$ >"$0/child.pid"; while :; do sleep 1; done' "$1" &
      echo $$ >"$1/parent.pid"
      wait`;
    const parent = spawn('setsid', ['sh', '-c', script, 'sh', folder], {
      env: { ...process.env, TMPDIR: folder },
      stdio: 'ignore',
      detached: true,
    });
    const gone = once(parent, 'exit');
    const names = ['orphan', 'named', 'child', 'parent'];
    const file = (name) => join(folder, `${name}.pid`);
    const read = (name) => (existsSync(file(name)) ? readFileSync(file(name), 'utf8').trim() : '');
    while (!names.every(read)) await sleep(10);
    const pids = names.map(read);
    // an orphan that no tree leads to
    process.kill(Number(pids[3]), 'SIGKILL');
    await gone;
    process.kill(Number(pids[2]), 'SIGKILL');
    const told = await endProcesses(folder);
    assert.deepEqual(pids.map(ended), [true, true, true, true]);
    for (const pid of pids.slice(0, 2)) assert.ok(told.some((one) => one.pid === pid));
  });

  it('takes its farms and projects from the engine, and nobody else’s', async () => {
    const asked = [];
    const containers = [
      { Id: 'registered', Labels: farm('f-registered') },
      { Id: 'made-up', Labels: farm('f-made-up') },
      { Id: 'neighbour', Labels: farm('f-neighbour') },
      { Id: 'composed', Labels: project('impgem-e2e-17') },
      { Id: 'composed-elsewhere', Labels: project('impgem-e2e-18') },
      { Id: 'plain', Labels: null },
    ];
    const lists = {
      '/containers/json?all=1': containers,
      '/networks': [{ Id: 'net', Labels: farm('f-registered') }, { Id: 'bridge' }],
      '/volumes': { Volumes: [{ Name: 'vol', Labels: farm('f-made-up') }, { Name: 'data' }] },
    };
    const engine = createServer(({ method, url }, answer) => {
      if (method === 'DELETE') asked.push(url.replace(/\?.*/, ''));
      answer.end(JSON.stringify(lists[url] ?? {}));
    });
    const socket = join(folder, 'engine.sock');
    await new Promise((listening) => engine.listen(socket, listening));
    try {
      mkdirSync(join(folder, 'worker'));
      mkdirSync(join(folder, 'farms'));
      writeFileSync(join(folder, 'worker/credential.json'), '{"farm":"f-registered"}');
      writeFileSync(join(folder, 'farms/f-made-up'), '');
      writeFileSync(join(folder, 'half-credential.json'), '{"farm":"f-nei');
      const one = { pid: '17', command: 'node jest' };
      assert.equal(await endEngineObjects(`unix://${socket}`, folder, [one]), 5);
      assert.deepEqual(asked.toSorted(), [
        '/containers/composed',
        '/containers/made-up',
        '/containers/registered',
        '/networks/net',
        '/volumes/vol',
      ]);
    } finally {
      await new Promise((closed) => engine.close(closed));
    }
  });
});
