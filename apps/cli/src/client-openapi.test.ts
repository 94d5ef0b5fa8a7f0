import { readFileSync } from 'node:fs';
import { createClient, type FetchInit } from '@impgem/client';
import { describe, expect, it } from '@jest/globals';

/** The client of libs/client against the document that the master writes of itself; here, since it knows no files. */
interface Operation {
  parameters?: { name: string; in: string }[];
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> };
}
const document = JSON.parse(
  readFileSync(new URL('../../../libs/client/openapi.json', import.meta.url), 'utf8'),
) as {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { properties?: object; required?: string[] }> };
};
/** Not for this client: programs that watch the master, and the worker's own call. */
const ELSEWHERE = ['/health/live', '/health/ready', '/metrics', '/api/v1/workers/register'];

interface Call {
  method: string;
  path: string;
  query: string[];
  body: Record<string, unknown> | undefined;
}

/** Calls every function of the client; answers what each one sent. */
async function allCalls(): Promise<Call[]> {
  const calls: Call[] = [];
  const fetch = async (url: string, init?: FetchInit) => {
    const { pathname, searchParams } = new URL(url);
    const body =
      init?.body === undefined ? undefined : (JSON.parse(init.body) as Record<string, unknown>);
    calls.push({
      method: init?.method ?? '',
      path: pathname,
      query: [...searchParams.keys()],
      body,
    });
    return new Response('{}');
  };
  const c = createClient({ url: 'http://master', fetch: fetch as never });
  const page = { after: 'x', limit: 1 };
  await Promise.all([
    c.about(),
    c.session.signIn('t'),
    c.session.get(),
    c.session.signOut(),
    c.tokens.list(page),
    c.tokens.create({ name: 'n', scopes: ['read'], expiresIn: 1 }),
    c.tokens.revoke('i'),
    c.audit(page),
    c.retention.preview(),
    c.retention.run(),
    c.registrationTokens.list(page),
    c.registrationTokens.create({ uses: 1, expiresIn: 1, labels: [], names: ['w'] }),
    c.registrationTokens.revoke('i'),
    c.workers.list(page),
    c.workers.get('w'),
    c.workers.rotate('w'),
    c.workers.resume('w'),
    c.workers.revoke('w'),
    c.farm.apply('x'),
    c.farm.lint('x'),
    c.farm.get(),
    c.farm.versions(page),
    c.builders.list(page),
    c.builders.get('b'),
    c.requests.submit({ builder: 'b', properties: {}, priority: 1, reason: 'r' }),
    c.requests.submitAll([{ builder: 'b' }]),
    c.requests.list({ ...page, builder: 'b', state: 'pending' }),
    c.requests.get(1),
    c.requests.cancel(1, 'r'),
    c.builds.list({ ...page, builder: 'b', state: 'running', result: 'success' }),
    c.builds.get(1),
    c.builds.byNumber('b', 1),
    c.builds.cancel(1, 'r'),
    c.builds.log(1, 0, { stream: 'stdout', lines: '1-2', tail: 3, timestamps: true }),
    c.builds.searchLog(1, 0, {
      q: 'x',
      regex: true,
      ignoreCase: true,
      stream: 'stdout',
      after: '1',
      limit: 1,
    }),
    c.builds.artifacts(1, page),
    c.builds.artifact(1, 'a'),
    c.builds.archive(1, 'zip'),
    c.builds.archive(1, 'tar'),
    c.events({ ...page, build: 1 }),
  ]);
  return calls;
}

/** The operation that a call goes to; one without parameters in its path before one with. */
function operationOf({ method, path }: Call): [string, Operation] | undefined {
  return Object.entries(document.paths)
    .filter(([, operations]) => operations[method.toLowerCase()])
    .sort(([a], [b]) => a.split('{').length - b.split('{').length)
    .filter(([template]) => new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path))
    .map(([template, operations]): [string, Operation] => [
      `${method} ${template}`,
      operations[method.toLowerCase()] as Operation,
    ])[0];
}

describe('the client', () => {
  it('has a function for each operation of the master, and no other', async () => {
    const called = (await allCalls()).map(
      (call) => operationOf(call)?.[0] ?? `none for ${call.method} ${call.path}`,
    );
    const there = Object.entries(document.paths)
      .filter(([path]) => !ELSEWHERE.includes(path))
      .flatMap(([path, operations]) =>
        Object.keys(operations).map((m) => `${m.toUpperCase()} ${path}`),
      );
    expect(called.sort()).toEqual(there.sort());
  });

  it('sends the parameters and the fields that the master knows', async () => {
    for (const call of await allCalls()) {
      const [name, { parameters = [], requestBody }] = operationOf(call) ?? ['', {}];
      const query = parameters.filter((p) => p.in === 'query').map((p) => p.name);
      expect([name, call.query.sort()]).toEqual([name, query.sort()]);
      const schema = requestBody?.content['application/json']?.schema.$ref?.split('/').at(-1) ?? '';
      const fields = Object.keys(document.components.schemas[schema]?.properties ?? {});
      expect([name, Object.keys(call.body ?? {}).sort()]).toEqual([name, fields.sort()]);
    }
  });
});
