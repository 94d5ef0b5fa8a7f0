import { describe, expect, it } from '@jest/globals';
import { isInsecure, recipes, workerName } from './commands.js';

const worker = { master: 'https://farm.example', token: 'igr_abc_secret' };
const textOf = (id: string, rest: object = {}) =>
  recipes({ ...worker, ...rest }).find((recipe) => recipe.id === id)?.text ?? '';

describe('every recipe', () => {
  it.each(['impgem', 'clone', 'docker', 'compose'])('%s names master and token', (id) => {
    expect(textOf(id)).toContain('https://farm.example');
    expect(textOf(id)).toContain('igr_abc_secret');
  });

  it.each(['impgem', 'clone', 'docker', 'compose'])(
    '%s allows plain http only where it leaves the machine',
    (id) => {
      expect(textOf(id)).not.toContain('IMPGEM_ALLOW_INSECURE');
      expect(textOf(id, { master: 'http://127.0.0.1:8010' })).not.toContain('ALLOW_INSECURE');
      expect(textOf(id, { master: 'http://farm.lan:8010' })).toContain('IMPGEM_ALLOW_INSECURE');
    },
  );
});

it('uses the name for the worker and for its data', () => {
  expect(textOf('docker', { name: 'big-box' })).toContain('-v impgem-big-box:/data');
  expect(textOf('clone', { name: 'big-box' })).toContain('IMPGEM_WORKER_NAME=big-box');
});

it('reaches a master on the same machine from a container', () => {
  expect(textOf('docker', { master: 'http://localhost:8010' })).toContain('--network host');
  expect(textOf('docker')).not.toContain('--network host');
});

it('tells plain http beyond loopback', () => {
  expect(isInsecure('http://farm.lan')).toBe(true);
  expect(isInsecure('http://127.0.0.1:8010')).toBe(false);
  expect(isInsecure('http://[::1]:8010')).toBe(false);
  expect(isInsecure('https://farm.lan')).toBe(false);
});

it('takes names that need no quoting', () => {
  expect(workerName(' big-box.1 ')).toBe('big-box.1');
  expect(workerName('a b')).toBeUndefined();
  expect(workerName('$(reboot)')).toBeUndefined();
});
