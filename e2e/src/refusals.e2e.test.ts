import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startFarm, Refused, type Farm } from './farm.js';
import { surviveRaw } from './hostile/send-raw.js';
import { Program, ROOT } from './program.js';

const ONE = "builders:\n  one:\n    steps: [{ name: one, run: 'true' }]\n";

const refused = async (wish: Promise<unknown>): Promise<Refused> => {
  const error: unknown = await wish.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof Refused) return error;
  throw new Error(`not refused: ${String(error)}`);
};

describe('what the master refuses', () => {
  let farm: Farm;
  beforeAll(async () => {
    farm = await startFarm({ executor: 'host' });
    await farm.apply(ONE);
  });
  afterAll(() => farm?.stop());

  it.each([
    ['an unknown key', "builders:\n  a:\n    steps: [{ naem: x, run: 'true' }]\n", 'name'],
    ['a wrong type', 'builders:\n  a:\n    steps: { run: x }\n', 'list'],
    [
      'a step name given twice',
      "builders:\n  a:\n    steps: [{ name: x, run: 'true' }, { name: x, run: 'true' }]\n",
      'x',
    ],
    ['no steps', 'builders:\n  a:\n    steps: []\n', 'steps'],
  ])('refuses a farm file with %s, and says where and how to mend it', async (_, source, word) => {
    const { status, body } = await refused(farm.apply(source));
    expect({ status, code: body.code }).toEqual({ status: 422, code: 'invalid-farm-file' });
    expect(body.problems?.[0]).toMatchObject({
      line: expect.any(Number),
      column: expect.any(Number),
    });
    expect(JSON.stringify(body.problems)).toContain(word);
    const kept = await farm.api<{ source: string }>('GET', '/farm');
    expect(kept.source).toBe(ONE);
  });

  it('refuses an unknown builder and a property that is not declared', async () => {
    expect((await refused(farm.request('two'))).body.code).toBe('unknown-builder');
    expect((await refused(farm.request('one', { speed: '1' }))).body.code).toBe(
      'undeclared-property',
    );
  });

  it('refuses a request without a token, with a wrong, revoked or too weak one', async () => {
    const trigger = (token: string) =>
      refused(farm.api('POST', '/build-requests', { builder: 'one' }, token));
    expect((await trigger('')).status).toBe(401);
    expect((await trigger(`${farm.token}x`)).status).toBe(401);
    const make = (scopes: string[]) =>
      farm.api<{ id: string; token: string }>('POST', '/tokens', {
        name: `t-${scopes.join()}`,
        scopes,
      });
    const reader = await make(['read']);
    expect((await trigger(reader.token)).body.code).toBe('forbidden');
    const gone = await make(['trigger']);
    await farm.api('DELETE', `/tokens/${gone.id}`);
    expect((await trigger(gone.token)).body.code).toBe('token-revoked');
  });

  it('refuses a registration token that is used up', async () => {
    const token = await farm.registrationToken();
    const register = (name: string) => farm.api('POST', '/workers/register', { name }, token);
    await register('first');
    expect((await refused(register('second'))).body.code).toBe('token-used-up');
  });

  it('is the same process, with no descriptor more, after bytes of any kind', async () => {
    const { runs, answers } = await surviveRaw(farm, { runs: 400, seed: 11 });
    expect(runs).toBe(400);
    expect(answers['101']).toBeGreaterThan(10);
  });

  it('says which port is taken, and ends', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const master = new Program('master', [process.execPath, `${ROOT}/apps/master/bundle/main.js`], {
      IMPGEM_DATA: `${farm.dataDir}/other`,
      IMPGEM_PORT: String(port),
    });
    expect(await master.ended()).not.toBe(0);
    expect(master.output).toContain(String(port));
    expect(master.output).not.toContain('    at ');
    server.close();
    await once(server, 'close');
  });

  it('a worker without an engine says so, and how to go on', async () => {
    const worker = new Program('lonely', [process.execPath, `${ROOT}/apps/worker/bundle/main.js`], {
      ...farm.workerEnv('lonely', await farm.registrationToken()),
      IMPGEM_EXECUTOR: 'docker',
      DOCKER_HOST: 'unix:///nowhere/docker.sock',
    });
    expect(await worker.ended()).not.toBe(0);
    expect(worker.output).toContain('/nowhere/docker.sock');
  });

  it.each(['master', 'worker'])(
    'the %s says how it is called, and does not start',
    async (name) => {
      const command = [process.execPath, `${ROOT}/apps/${name}/bundle/main.js`, '--help'];
      const program = new Program(name, command, { IMPGEM_DATA: `${farm.dataDir}/none` });
      expect(await program.ended()).not.toBe(0);
      expect(program.output).toContain('usage: main.js');
    },
  );

  it('a git address that does not answer ends the build as an exception that names it', async () => {
    const source = 'git://127.0.0.1:9/none.git';
    const build = await farm.build(
      `builders:\n  far:\n    source: { git: '${source}' }\n    steps: [{ name: one, run: 'true' }]\n`,
      'far',
    );
    expect(build.result).toBe('exception');
    expect(build.steps[0]?.reason?.code).toBe('source-unavailable');
    expect(build.steps[0]?.reason?.message).toContain('127.0.0.1');
  });
});
