import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { isMarked, makeOwn, whyForeign } from '@impgem/kit';
import { folderHost, target } from './config.js';

const FARM = { url: 'http://127.0.0.1:8011', tokenFile: 'master/admin-token' };
const sh = (cwd: string, script: string) => execFileSync('sh', ['-ec', script], { cwd });

describe('where the master is', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'impgem-config-'));
    mkdirSync(join(folder, 'home', 'impgem'), { recursive: true });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const farm = (file: object = FARM, mode = 0o700) => {
    mkdirSync(join(folder, '.impgem', 'master'), { recursive: true });
    secret('.impgem/client.json', JSON.stringify(file));
    secret('.impgem/master/admin-token', 'igt_farm\n');
    chmodSync(join(folder, '.impgem'), mode);
  };
  const secret = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text);
    chmodSync(join(folder, name), mode);
  };
  const at = (flags: object = {}, env: object = {}) =>
    target(flags, { XDG_CONFIG_HOME: join(folder, 'home'), ...env }, folder);

  it('is this machine, without a token, when nothing says', () => {
    expect(at()).toEqual({
      url: 'http://127.0.0.1:8010',
      token: undefined,
      from: 'nowhere',
      passedOver: [],
    });
  });

  it('is the farm of this folder, then the file of the user', () => {
    const file = { url: 'https://farm.example/', token: 'igt_home' };
    writeFileSync(join(folder, 'home', 'impgem', 'client.json'), JSON.stringify(file));
    expect(at()).toMatchObject({ url: 'https://farm.example', token: 'igt_home' });
    farm();
    expect(at()).toMatchObject({ url: 'http://127.0.0.1:8011', token: 'igt_farm' });
    expect(at({ url: 'https://farm.example/' })).toMatchObject({ token: 'igt_home' });
  });

  (process.getuid?.() === 0 ? it : it.skip)('is the file that root set for all', () => {
    const file = join(folder, 'home', 'impgem', 'client.json');
    writeFileSync(file, JSON.stringify({ url: 'https://farm.example/', token: 'igt_home' }));
    const uid = jest.spyOn(process, 'getuid').mockReturnValue(54_321);
    try {
      expect(at()).toMatchObject({ token: 'igt_home', passedOver: [] });
      chownSync(file, 54_322, 54_322);
      expect(at()).toMatchObject({
        token: undefined,
        passedOver: [`found ${file}, passed over: it belongs to another user`],
      });
    } finally {
      uid.mockRestore();
    }
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
    expect(at({ url: 'http://elsewhere' })).toMatchObject({
      token: undefined,
      passedOver: [expect.stringContaining('it is of http://127.0.0.1:8011')],
    });
  });

  /** What the folder's file leads to: nothing but words. */
  const passesOver = (words: RegExp) => {
    const { token, url, passedOver } = at();
    expect({ token, url }).toEqual({ token: undefined, url: 'http://127.0.0.1:8010' });
    expect(passedOver).toEqual([expect.stringMatching(words)]);
    expect(passedOver[0]).toContain(`found ${join(folder, '.impgem/client.json')}, passed over: `);
  };

  it('is never said by a folder that git has made, whatever its modes', () => {
    const token = { url: 'http://127.0.0.1:9999', token: 'igt_evil' };
    sh(folder, 'git init -q origin && mkdir origin/.impgem');
    writeFileSync(join(folder, 'origin/.impgem/client.json'), JSON.stringify(token));
    sh(join(folder, 'origin'), 'git add -f . && git -c user.name=x -c user.email=x@y commit -qm x');
    for (const umask of ['022', '077']) {
      sh(folder, `umask ${umask}; git clone -q origin clone && mv clone/.impgem clone/.git .`);
      passesOver(umask === '077' ? /git tracks|not made here/ : /not made here/);
      rmSync(join(folder, '.impgem'), { recursive: true });
      rmSync(join(folder, '.git'), { recursive: true });
      rmSync(join(folder, 'clone'), { recursive: true });
    }
  });

  it('is never said by what an archive, a copy or another program has left open', () => {
    farm(FARM, 0o755);
    passesOver(/not made here/);
    makeOwn(folderHost, join(folder, '.impgem'));
    expect(at()).toMatchObject({ token: 'igt_farm', passedOver: [] });
    sh(folder, 'tar cf all.tar .impgem && rm -r .impgem && tar xpf all.tar');
    passesOver(/was made elsewhere/);
    chmodSync(join(folder, '.impgem'), 0o777);
    passesOver(/written by others/);
    renameSync(join(folder, '.impgem'), join(folder, 'elsewhere'));
    symlinkSync('elsewhere', join(folder, '.impgem'));
    passesOver(/is a link/);
  });

  it('is never said by a file of the folder that is no secret, or is damaged', () => {
    farm();
    for (const [text, mode, words] of [
      [JSON.stringify(FARM), 0o644, /mode 0600/],
      ['{', 0o600, /not JSON/],
      ['null', 0o600, /no url/],
      ['{"url":7}', 0o600, /no url/],
      ['{"url":"http://127.0.0.1:1","token":7}', 0o600, /neither token/],
      ['{"url":"javascript:1","token":"igt_x"}', 0o600, /not an address/],
      [JSON.stringify({ ...FARM, more: 'x'.repeat(20_000) }), 0o600, /too long/],
    ] as const) {
      secret('.impgem/client.json', text, mode);
      passesOver(words);
    }
    rmSync(join(folder, '.impgem/client.json'));
    symlinkSync(join(folder, '.impgem/master/admin-token'), join(folder, '.impgem/client.json'));
    passesOver(/is a link/);
  });

  it('sends no file from outside of the folder, and none that is no token', () => {
    farm();
    secret('key', 'igt_secret');
    secret('.impgem/open', 'igt_open', 0o644);
    secret('.impgem/other', 'machine api.example login x');
    symlinkSync('../key', join(folder, '.impgem/link'));
    symlinkSync('..', join(folder, '.impgem/up'));
    for (const [tokenFile, words] of [
      ['/etc/hostname', /outside/],
      [join(folder, 'key'), /outside/],
      ['../key', /outside/],
      ['master/../../key', /outside/],
      ['link', /is a link/],
      ['up/key', /behind a link/],
      ['open', /mode 0600/],
      ['other', /no API token/],
      ['master', /not a plain file/],
      ['none', /not there/],
    ] as const) {
      secret('.impgem/client.json', JSON.stringify({ url: FARM.url, tokenFile }));
      passesOver(words);
    }
  });

  it('is another machine only when that is asked for', () => {
    for (const url of [
      'https://evil.example',
      'http://127.0.0.1.evil.example',
      'http://localhost@evil.example',
      'http://user:x@127.0.0.1',
      'http://0.0.0.0:8010',
      'http://[::ffff:10.0.0.1]',
    ]) {
      farm({ ...FARM, url });
      passesOver(/another machine/);
      expect(at({ url })).toMatchObject({ url, token: 'igt_farm', passedOver: [] });
    }
    for (const url of ['http://localhost:1', 'https://127.1.2.3:4', 'http://[::1]:8010']) {
      farm({ ...FARM, url });
      expect(at()).toMatchObject({ url, token: 'igt_farm', passedOver: [] });
    }
  });

  it('refuses what is no address', () => {
    for (const url of ['farm', 'ftp://farm', 'javascript:alert(1)'])
      expect(() => at({ url })).toThrow(url);
  });
});

describe('a data folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'impgem-own-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const why = () => whyForeign(folderHost, folder, ['.impgem', 'worker']);
  const data = (name = '') => join(folder, '.impgem', 'worker', name);

  it('counts when it is missing, empty, or was made here', () => {
    expect(why()).toBeUndefined();
    mkdirSync(data(), { recursive: true });
    expect(why()).toBeUndefined();
    writeFileSync(data('worker.yml'), 'executor: host\n');
    expect(why()).toContain('not made here');
    makeOwn(folderHost, data());
    makeOwn(folderHost, data());
    expect([why(), isMarked(folderHost, data())]).toEqual([undefined, true]);
    expect(readdirSync(data()).toSorted()).toEqual(['made-here', 'worker.yml']);
  });

  it('does not count as a copy, behind a link, or when others may write into it', () => {
    makeOwn(folderHost, data());
    writeFileSync(data('worker.yml'), '');
    sh(folder, 'cp -a .impgem/worker copy && rm -r .impgem/worker && mv copy .impgem/worker');
    expect(why()).toContain('copied');
    makeOwn(folderHost, data());
    chmodSync(join(folder, '.impgem'), 0o775);
    expect(why()).toContain(`${join(folder, '.impgem')} may be written by others`);
    sh(folder, 'chmod 700 .impgem && mv .impgem other && ln -s other .impgem');
    expect(why()).toContain('is a link');
    sh(folder, 'rm .impgem && touch .impgem');
    expect(why()).toContain('is not a folder');
  });

  it('does not count any more when git brings files into it', () => {
    makeOwn(folderHost, data());
    sh(folder, 'git init -q . && touch .impgem/worker/worker.yml');
    expect(why()).toBeUndefined();
    sh(folder, 'git add -f .impgem/worker/worker.yml');
    expect(why()).toContain('git tracks');
  });

  it('runs nothing that the repository around it names', () => {
    makeOwn(folderHost, data());
    writeFileSync(join(folder, 'evil'), `#!/bin/sh\ntouch ${folder}/ran\n`, { mode: 0o755 });
    sh(folder, `git init -q . && touch x && git add x && git config core.fsmonitor ./evil`);
    writeFileSync(data('x'), '');
    expect(why()).toBeUndefined();
    expect(readdirSync(folder)).not.toContain('ran');
  });

  it('of an earlier version counts for a worker when nothing in it steers the worker', () => {
    mkdirSync(data(), { recursive: true, mode: 0o700 });
    writeFileSync(data('credential.json'), '{}', { mode: 0o600 });
    mkdirSync(data('spool'));
    expect(why()).toBeUndefined();
    writeFileSync(data('worker.yml'), '');
    expect(why()).toContain('not made here');
    rmSync(data('worker.yml'));
    chmodSync(data('credential.json'), 0o644);
    expect(why()).toContain('not made here');
  });

  it('of an earlier version counts for a farm when its database was made in this very place', () => {
    const control = join('postgres', 'data', 'global', 'pg_control');
    mkdirSync(join(data(control), '..'), { recursive: true });
    const made = (seconds: number) => {
      const bytes = Buffer.alloc(8192);
      bytes.writeUInt32LE(Math.floor(Date.now() / 1000) + seconds, 4);
      writeFileSync(data(control), bytes);
      return why();
    };
    expect(made(0)).toBeUndefined();
    for (const seconds of [-86_400, 86_400, -600, 600])
      expect(made(seconds)).toContain('not made here');
    made(0);
    sh(join(data(), 'postgres'), 'mv data real && ln -s real data');
    expect(why()).toContain('not made here');
  });
});
