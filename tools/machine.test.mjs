import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { differences } from './machine.mjs';

const machine = (more = {}) => ({
  containers: new Map(),
  volumes: new Map(),
  networks: new Map(),
  images: new Map(),
  mounts: new Map(),
  processes: new Map([['1@1', { pid: '1', parent: '0', command: 'init' }]]),
  ...more,
});
const one = (text, farm) => new Map([[text, { text, farm }]]);
const processes = (...more) =>
  new Map([
    ['1@1', { pid: '1', parent: '0', command: 'init' }],
    ...more.map((process) => [`${process.pid}@5`, process]),
  ]);

describe('what is left over', () => {
  it('is nothing when the lists are the same', () => {
    assert.deepEqual(differences(machine(), machine()), []);
  });

  it('names each new object, and each that is gone', () => {
    for (const list of ['containers', 'volumes', 'networks', 'images', 'mounts']) {
      const found = differences(machine(), machine({ [list]: one('x') }));
      assert.deepEqual(found, [`${list}: left over: x`]);
    }
    assert.deepEqual(differences(machine({ images: one('x') }), machine()), ['images: gone: x']);
  });

  it("leaves out objects of a farm that was there before, and counts those of a new one's", () => {
    const before = machine({ networks: one('n', 'theirs') });
    const networks = one('n', 'theirs');
    const theirs = machine({ networks, containers: one('step', 'theirs') });
    assert.deepEqual(differences(before, theirs), []);
    const ours = machine({ networks, containers: one('step', 'ours') });
    assert.deepEqual(differences(before, ours), ['containers: left over: step']);
  });

  it('names an orphan and a child of ours, not what an older process has started', () => {
    const orphan = { pid: '900', parent: '1', command: 'postgres' };
    assert.match(differences(machine(), machine({ processes: processes(orphan) }))[0], /postgres/);
    const child = { pid: '901', parent: `${process.pid}`, command: 'worker' };
    const us = { pid: `${process.pid}`, parent: '1', command: 'npm test' };
    const before = machine({ processes: processes(us) });
    const after = machine({ processes: processes(us, child) });
    assert.equal(differences(before, after).length, 1);
    const shell = { pid: '800', parent: '1', command: 'bash' };
    const theirs = { pid: '902', parent: '800', command: 'vi' };
    const having = (...list) => machine({ processes: processes(...list) });
    assert.deepEqual(differences(having(shell), having(shell, theirs)), []);
  });
});
