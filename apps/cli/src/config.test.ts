import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { target } from './config.js';

describe('where the master is', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'impgem-config-'));
    mkdirSync(join(folder, '.impgem', 'master'), { recursive: true });
    mkdirSync(join(folder, 'home', 'impgem'), { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const farm = () => {
    const file = { url: 'http://127.0.0.1:8011', tokenFile: 'master/admin-token' };
    writeFileSync(join(folder, '.impgem', 'client.json'), JSON.stringify(file));
    writeFileSync(join(folder, '.impgem', 'master', 'admin-token'), 'igt_farm\n');
  };
  const at = (flags: object = {}, env: object = {}) =>
    target(flags, { XDG_CONFIG_HOME: join(folder, 'home'), ...env }, folder);

  it('is this machine, without a token, when nothing says', () => {
    expect(at()).toEqual({ url: 'http://127.0.0.1:8010', token: undefined, from: 'nowhere' });
  });

  it('is the farm of this folder, then the file of the user', () => {
    const file = { url: 'https://farm.example/', token: 'igt_home' };
    writeFileSync(join(folder, 'home', 'impgem', 'client.json'), JSON.stringify(file));
    expect(at()).toMatchObject({ url: 'https://farm.example', token: 'igt_home' });
    farm();
    expect(at()).toMatchObject({ url: 'http://127.0.0.1:8011', token: 'igt_farm' });
    expect(at({ url: 'https://farm.example/' })).toMatchObject({ token: 'igt_home' });
  });

  it('takes flags before the environment', () => {
    farm();
    const env = { IMPGEM_URL: 'http://env:1', IMPGEM_TOKEN: 'igt_env' };
    expect(at({}, env)).toMatchObject({ url: 'http://env:1', token: 'igt_env' });
    expect(at({ url: 'http://flag:1', token: 'igt_flag' }, env)).toMatchObject({
      url: 'http://flag:1',
      token: 'igt_flag',
    });
  });

  it('never sends a token to the address that a folder names', () => {
    farm();
    expect(at({ token: 'igt_mine' })).toMatchObject({
      url: 'http://127.0.0.1:8010',
      token: 'igt_mine',
    });
    expect(at({ url: 'http://elsewhere' }).token).toBeUndefined();
  });

  it('refuses what is no address', () => {
    for (const url of ['farm', 'ftp://farm', 'javascript:alert(1)'])
      expect(() => at({ url })).toThrow(url);
  });
});
