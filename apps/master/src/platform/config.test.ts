import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeOwn } from '@impgem/kit';
import { describe, expect, it } from '@jest/globals';
import { defaultUrl, folderHost, readConfig } from './config.js';

const readBad = () =>
  readConfig({
    IMPGEM_PROT: '1',
    IMPGEM_PORT: '70000',
    IMPGEM_LOG_LEVEL: 'loud',
    DATABASE_URL: 'mysql://x',
    IMPGEM_TLS_CERT: '/nowhere.pem',
    IMPGEM_PUBLIC_URL: 'farm',
    IMPGEM_WORKER_NAME: 'not ours',
    PATH: '/bin',
  });

const heartbeatOf = (seconds: string) => readConfig({ IMPGEM_LOST_AFTER_S: seconds }).heartbeatMs;

describe('readConfig', () => {
  it('has a default for everything', () => {
    const config = readConfig({});
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 8010,
      publicUrl: 'http://127.0.0.1:8010',
      logLevel: 'info',
      lostAfterMs: 90_000,
      trustProxy: false,
    });
    expect(config.databaseUrl).toBeUndefined();
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('takes what the environment says, an empty value as none', () => {
    expect(
      readConfig({
        IMPGEM_PORT: '0',
        IMPGEM_HOST: '',
        IMPGEM_DATA: '/srv/farm',
        DATABASE_URL: 'postgres://me@db/farm',
        IMPGEM_PUBLIC_URL: 'https://farm.example/',
        IMPGEM_TRUST_PROXY: '10.0.0.0/8',
        IMPGEM_LOST_AFTER_S: '18',
        IMPGEM_MASTER_MIN_FREE: '512MiB',
      }),
    ).toMatchObject({
      port: 0,
      host: '127.0.0.1',
      dataDir: '/srv/farm',
      databaseUrl: 'postgres://me@db/farm',
      publicUrl: 'https://farm.example',
      trustProxy: '10.0.0.0/8',
      lostAfterMs: 18_000,
      heartbeatMs: 2000,
      minFreeBytes: 512 * 1024 ** 2,
    });
  });

  it('hears workers often enough to give up the silent in time', () => {
    expect(['1', '10', '90', '600'].map(heartbeatOf)).toEqual([1000, 1111, 10_000, 10_000]);
  });

  it('has one line for each bad key', () => {
    expect(readBad).toThrow(expect.objectContaining({ code: 'invalid-config' }));
    let lines: string[] = [];
    try {
      readBad();
    } catch (error) {
      lines = (error as Error).message.split('\n').toSorted();
    }
    expect(lines.map((line) => line.split(':')[0])).toEqual([
      'DATABASE_URL',
      'IMPGEM_LOG_LEVEL',
      'IMPGEM_PORT',
      'IMPGEM_PROT',
      'IMPGEM_PUBLIC_URL',
      'IMPGEM_TLS_CERT and IMPGEM_TLS_KEY',
    ]);
    expect(lines[3]).toContain('did you mean IMPGEM_PORT?');
  });

  it.each(['proxy', '10.0.0.0/33', '10.0.0.1,', '::1/129', '1.2.3.4/5/6'])(
    'does not trust %j as a proxy',
    (text) => {
      expect(() => readConfig({ IMPGEM_TRUST_PROXY: text })).toThrow(/^IMPGEM_TRUST_PROXY: /);
    },
  );

  it('wants a certificate and its key, not just files', () => {
    const file = fileURLToPath(import.meta.url);
    expect(() => readConfig({ IMPGEM_TLS_CERT: file, IMPGEM_TLS_KEY: file })).toThrow(
      /config\.test\.ts are no certificate and its key in PEM/,
    );
    expect(() => readConfig({ IMPGEM_TLS_CERT: '/no/cert', IMPGEM_TLS_KEY: '/no/key' })).toThrow(
      /IMPGEM_TLS_CERT: .*\/no\/cert.*\nIMPGEM_TLS_KEY: .*\/no\/key/,
    );
  });

  it('names an address that a browser can open', () => {
    expect(defaultUrl(false, '0.0.0.0', 1)).toBe('http://localhost:1');
    expect(defaultUrl(true, '::1', 2)).toBe('https://[::1]:2');
  });

  it('takes a data folder of the current folder only when a master made it', () => {
    const cwd = mkdtempSync(join(tmpdir(), 'impgem-config-'));
    const found = join(cwd, '.impgem/master');
    try {
      expect(readConfig({}, cwd).dataDir).toBe(found);
      mkdirSync(join(found, 'postgres/data'), { recursive: true });
      expect(() => readConfig({}, cwd)).toThrow(
        `found ${found}, which is not used: it was not made here`,
      );
      expect(() => readConfig({ IMPGEM_DATA: '.impgem/master' }, cwd)).toThrow(found);
      expect(readConfig({ IMPGEM_DATA: found }, cwd).dataDir).toBe(found);
      makeOwn(folderHost, found);
      expect(readConfig({}, cwd).dataDir).toBe(found);
    } finally {
      rmSync(cwd, { recursive: true });
    }
  });
});
