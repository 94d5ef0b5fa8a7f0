/** For tests alone: a whole master in this process, on a database and a data folder of its own. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Scope } from '@impgem/client';
import { testDatabase, type TestDatabase } from '@impgem/testkit';
import { startMaster, type Master } from './master.js';
import { MasterConfig, readConfig, setLogLevel, withConfig } from './platform/index.js';

export interface TestMaster extends Master {
  config: MasterConfig;
  /** The first admin token. */
  token: string;
  testDatabase: TestDatabase;
  /** Makes an API token. */
  newToken(
    scopes: Scope[],
    expiresIn?: number,
  ): Promise<{ id: string; name: string; token: string }>;
  /** `fetch` of a path, as admin unless the headers say otherwise; `json` is sent as the body. */
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
}

export interface CallOptions {
  /** `null`: none. */
  token?: string | null;
  json?: unknown;
  body?: string;
  headers?: Record<string, string>;
}

export async function testMaster(changes: Partial<MasterConfig> = {}): Promise<TestMaster> {
  const database = await testDatabase();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'impgem-test-master-'));
  const config = withConfig(readConfig({ IMPGEM_PORT: '0' }), {
    dataDir,
    databaseUrl: database.url,
    logLevel: 'error',
    ...changes,
  });
  setLogLevel(config.logLevel);
  const master = await startMaster(config);
  const token = (await readFile(path.join(dataDir, 'admin-token'), 'utf8')).trim();
  let made = 0;
  const call = (method: string, path: string, options: CallOptions = {}) => {
    const headers: Record<string, string> = {};
    const bearer = options.token === undefined ? token : options.token;
    if (bearer !== null) headers.authorization = `Bearer ${bearer}`;
    if (options.json !== undefined) headers['content-type'] = 'application/json';
    const body = options.json === undefined ? options.body : JSON.stringify(options.json);
    return fetch(new URL(path, master.url), {
      method,
      headers: { ...headers, ...options.headers },
      ...(body === undefined ? {} : { body }),
    });
  };
  return {
    ...master,
    config,
    token,
    testDatabase: database,
    call,
    async newToken(scopes, expiresIn) {
      const json = { name: `test-${++made}`, scopes, ...(expiresIn ? { expiresIn } : {}) };
      const answer = await call('POST', '/api/v1/tokens', { json });
      if (!answer.ok) throw new Error(`no token: ${await answer.text()}`);
      return (await answer.json()) as { id: string; name: string; token: string };
    },
    async stop() {
      const inTime = await master.stop();
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
      if (!inTime) throw new Error('the master did not stop in time');
      return inTime;
    },
  };
}
