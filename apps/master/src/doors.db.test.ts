/** Each door of the farm against each token that must not open it. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { subprotocol } from '@impgem/protocol';
import { WebSocket } from 'ws';
import { testMaster, type TestMaster } from './testing.js';

let master: TestMaster;
beforeAll(async () => {
  master = await testMaster();
});
afterAll(() => master?.stop());

interface Answer {
  status: number;
  code?: string;
}
type Door = (token: string | undefined) => Promise<Answer>;

const rest =
  (method: string, path: string, json?: unknown): Door =>
  async (token) => {
    const body = json === undefined ? {} : { json };
    const answer = await master.call(method, path, { token: token ?? null, ...body });
    return { status: answer.status, code: ((await answer.json()) as { code?: string }).code ?? '' };
  };

const socket =
  (path: string, protocols: string[]): Door =>
  async (token) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const address = `${master.url.replace('http', 'ws')}${path}`;
    const knocking = new WebSocket(address, protocols, { headers });
    knocking.on('error', () => undefined);
    const opened = once(knocking, 'open').then(() => ({ status: 101 }));
    opened.catch(() => undefined);
    const refused = once(knocking, 'unexpected-response').then(async (args) => {
      const answer = args[1] as IncomingMessage;
      let text = '';
      for await (const chunk of answer) text += String(chunk);
      return { status: answer.statusCode ?? 0, code: (JSON.parse(text) as { code: string }).code };
    });
    refused.catch(() => undefined);
    const answer = await Promise.race([opened, refused]);
    knocking.terminate();
    return answer;
  };

let workers = 0;
const DOORS: Record<string, Door> = {
  REST: rest('GET', '/api/v1/builds'),
  'the live socket': socket('/api/v1/live', []),
  'the socket of workers': socket('/api/v1/worker', [subprotocol()]),
  registration: (token) =>
    rest('POST', '/api/v1/workers/register', { name: `w-${++workers}` })(token),
};

async function make<T>(path: string, json: object): Promise<T> {
  const answer = await master.call('POST', path, { json });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as T;
}
interface Made {
  id: string;
  token: string;
}
const registration = (wish: object = {}) => make<Made>('/api/v1/registration-tokens', wish);
const past = () => new Promise((resolve) => setTimeout(resolve, 1_100));

async function worker(): Promise<Made & { name: string }> {
  const { token } = await registration();
  const name = `w-${++workers}`;
  const answer = await master.call('POST', '/api/v1/workers/register', { token, json: { name } });
  return { name, ...((await answer.json()) as Made) };
}

/** Makes a token that its own door opens to, unless something is done to it. */
const KINDS: Record<string, Record<string, () => Promise<string>>> = {
  api: {
    right: async () => (await master.newToken(['read'])).token,
    expired: async () => {
      const { token } = await master.newToken(['read'], 1);
      await past();
      return token;
    },
    revoked: async () => {
      const { id, token } = await master.newToken(['read']);
      await master.call('DELETE', `/api/v1/tokens/${id}`);
      return token;
    },
  },
  registration: {
    right: async () => (await registration()).token,
    expired: async () => {
      const { token } = await registration({ expiresIn: 1 });
      await past();
      return token;
    },
    'used up': async () => {
      const { token } = await registration();
      await DOORS['registration']?.(token);
      return token;
    },
    revoked: async () => {
      const { id, token } = await registration();
      await master.call('DELETE', `/api/v1/registration-tokens/${id}`);
      return token;
    },
  },
  worker: {
    right: async () => (await worker()).token,
    revoked: async () => {
      const { name, token } = await worker();
      await master.call('DELETE', `/api/v1/workers/${name}`);
      return token;
    },
    rotated: async () => {
      const { name, token } = await worker();
      await master.call('POST', `/api/v1/workers/${name}/rotate`);
      return token;
    },
  },
};

const OWN: [string, string][] = [
  ['REST', 'api'],
  ['the live socket', 'api'],
  ['the socket of workers', 'worker'],
  ['registration', 'registration'],
];

const CODES: Record<string, string> = {
  expired: 'token-expired',
  'used up': 'token-used-up',
  revoked: 'token-revoked',
};

const wrongSecret = (token: string) => `${token.slice(0, -4)}${'A'.repeat(4)}`;

describe.each(OWN)('the door of %s', (door, kind) => {
  const knock = DOORS[door] as Door;
  const kinds = KINDS[kind] ?? {};

  it('opens to its own token', async () => {
    const { status } = await knock(await kinds['right']?.());
    expect([101, 200, 201]).toContain(status);
  });

  it.each(['missing', 'of nonsense', 'of nobody', 'with a wrong secret'])(
    'stays shut for a token %s',
    async (which) => {
      const right = (await kinds['right']?.()) ?? '';
      const id = right.split('_')[1] ?? '';
      const token = {
        missing: undefined,
        'of nonsense': 'nonsense',
        'of nobody': right.replace(id, [...id].toReversed().join('')),
        'with a wrong secret': wrongSecret(right),
      }[which];
      expect(await knock(token)).toMatchObject({ status: 401, code: 'unauthenticated' });
    },
  );

  it.each(Object.keys(kinds).filter((name) => name !== 'right'))(
    'stays shut for a token that is %s, and says so',
    async (which) => {
      const code = CODES[which] ?? 'unauthenticated';
      expect(await knock(await kinds[which]?.())).toMatchObject({ status: 401, code });
    },
  );

  it.each(Object.keys(KINDS).filter((name) => name !== kind))(
    'stays shut for a token of another kind: %s',
    async (other) => {
      const token = await KINDS[other]?.['right']?.();
      expect(await knock(token)).toMatchObject({ status: 401, code: 'unauthenticated' });
    },
  );
});

it.each([
  ['read', 'POST', '/api/v1/build-requests', { builder: 'x' }],
  ['trigger', 'PUT', '/api/v1/farm', { source: 'x' }],
  ['trigger', 'POST', '/api/v1/registration-tokens', {}],
] as const)('the scope %s is too little for %s %s', async (scope, method, path, json) => {
  const { token } = await master.newToken([scope]);
  const answer = await rest(method, path, json)(token);
  expect(answer).toEqual({ status: 403, code: 'forbidden' });
});
