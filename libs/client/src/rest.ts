import type * as api from './api.js';
import { host, type Fetch, type FetchResponse, type Signal } from './host.js';
import { ProblemError, UnreachableError } from './problem-error.js';

export interface ClientOptions {
  /** The master's address, e.g. `http://127.0.0.1:8010`; empty for the page's own origin. */
  url: string;
  /** API token; left out where a session cookie is sent. */
  token?: string;
  /** What `Session.csrf` says, for a page with a session. */
  csrf?: () => string | undefined;
  /** `globalThis.fetch` unless given. */
  fetch?: Fetch;
}

type Query = Record<string, string | number | boolean | undefined>;
interface Call {
  query?: Query;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: Signal;
}
export interface PageQuery {
  /** `next` of the page before. */
  after?: string;
  /** 50 unless given, at most 200. */
  limit?: number;
}
export interface BuildQuery extends PageQuery {
  builder?: string;
  state?: api.Build['state'];
  result?: api.Result;
}

/** One of `offset`, `stream`, `lines` and `tail`. */
export interface LogQuery {
  /** From this byte on. */
  offset?: number;
  stream?: api.StreamName;
  /** Counted from 1: `12-40`, `12-`, `12`. */
  lines?: string;
  /** The last so many lines. */
  tail?: number;
  /** Each line begins with its time. */
  timestamps?: boolean;
}
export interface LogSearchQuery {
  q: string;
  /** `q` is a regular expression. */
  regex?: boolean;
  ignoreCase?: boolean;
  stream?: api.StreamName;
  after?: string;
  /** 100 unless given, at most 1000. */
  limit?: number;
}

/** Some lines of a log, and the bytes that they are. */
export interface LogLines {
  /** From 1, as `last`. */
  first: number;
  last: number;
  /** Lines that have begun. */
  total: number;
  /** In bytes of the log; `to` is exclusive. */
  from: number;
  to: number;
}

/** Walks through all answers of a search. */
export async function* everyMatch(
  search: (after: string | undefined) => Promise<api.LogSearchResult>,
): AsyncGenerator<api.LogMatch> {
  let after: string | undefined;
  do {
    const { matches, next } = await search(after);
    yield* matches;
    after = next ?? undefined;
  } while (after !== undefined);
}

/** Walks through all pages of a list. */
export async function* every<Item>(
  list: (after: string | undefined) => Promise<api.Page<Item>>,
): AsyncGenerator<Item> {
  let after: string | undefined;
  do {
    const page = await list(after);
    yield* page.items;
    after = page.next ?? undefined;
  } while (after !== undefined);
}

export type Client = ReturnType<typeof createClient>;
type Calls = ReturnType<typeof calls>;

/**
 * The REST interface, one function for each operation. All of them reject with `ProblemError` when the master
 * refuses and with `UnreachableError` when there is no answer.
 */
export function createClient(options: ClientOptions) {
  const to = calls(options);
  return {
    about: () => to.get<api.About>('about'),
    ...access(to),
    ...farm(to),
    events: (query: PageQuery & { build?: number } = {}) =>
      to.get<api.Page<api.FarmEvent>>('events', query),
    /** For links and `curl`. */
    address: {
      artifact: (id: number, path: string) => `${base(options.url)}/${artifactPath(id, path)}`,
      archive: (id: number, format: 'zip' | 'tar') =>
        `${base(options.url)}/builds/${id}/artifacts.${format}`,
      log: (id: number, step: number) => `${base(options.url)}/builds/${id}/steps/${step}/log`,
    },
  };
}

/** Who may do what, and who did. */
function access({ get, post, remove }: Calls) {
  return {
    session: {
      signIn: (token: string) => post<api.Session>('session', { token }),
      get: () => get<api.Session>('session'),
      signOut: () => remove('session'),
    },
    tokens: {
      list: (query: PageQuery = {}) => get<api.Page<api.Token>>('tokens', query),
      /** `expiresIn` in seconds. */
      create: (token: { name: string; scopes: api.Scope[]; expiresIn?: number }) =>
        post<api.NewToken>('tokens', token),
      revoke: (id: string) => remove(at`tokens/${id}`),
    },
    retention: {
      /** What would go now; nothing does. */
      preview: () => get<api.RetentionReport>('retention'),
      /** Removes what is due, for some seconds; again while there is `more`. */
      run: () => post<api.RetentionReport>('retention'),
    },
    audit: (query: PageQuery = {}) => get<api.Page<api.AuditEntry>>('audit', query),
    registrationTokens: {
      list: (query: PageQuery = {}) =>
        get<api.Page<api.RegistrationToken>>('registration-tokens', query),
      /** One use and a day unless said; `expiresIn` in seconds. */
      create: (
        token: { uses?: number; expiresIn?: number; labels?: string[]; names?: string[] } = {},
      ) => post<api.NewRegistrationToken>('registration-tokens', token),
      revoke: (id: string) => remove(at`registration-tokens/${id}`),
    },
    workers: {
      list: (query: PageQuery = {}) => get<api.Page<api.Worker>>('workers', query),
      get: (name: string) => get<api.Worker>(at`workers/${name}`),
      rotate: (name: string) => post<api.WorkerCredential>(at`workers/${name}/rotate`),
      resume: (name: string) => post<api.Worker>(at`workers/${name}/resume`),
      revoke: (name: string) => remove(at`workers/${name}`),
    },
  };
}

/** Builders and what they build. */
function farm({ get, post, json, send }: Calls) {
  return {
    farm: {
      apply: (source: string) => json<api.AppliedFarm>('PUT', 'farm', { body: { source } }),
      lint: (source: string) => post<{ problems: api.FileProblem[] }>('farm/lint', { source }),
      /** Null before the first `apply`. */
      get: () => orNull(get<api.FarmFile>('farm')),
      versions: (query: PageQuery = {}) => get<api.Page<api.FarmVersion>>('farm/versions', query),
    },
    builders: {
      list: (query: PageQuery = {}) => get<api.Page<api.Builder>>('builders', query),
      get: (name: string) => get<api.Builder>(at`builders/${name}`),
    },
    requests: {
      submit: (request: api.BuildWish) => post<api.BuildRequest>('build-requests', request),
      /** All of them or, with a problem in one, none. */
      submitAll: (requests: api.BuildWish[]) =>
        post<api.BuildRequests>('build-requests/batch', { requests }),
      list: (query: PageQuery & { builder?: string; state?: api.BuildRequest['state'] } = {}) =>
        get<api.Page<api.BuildRequest>>('build-requests', query),
      get: (id: number) => get<api.BuildRequest>(at`build-requests/${id}`),
      cancel: (id: number, reason?: string) =>
        post<api.BuildRequest>(at`build-requests/${id}/cancel`, { reason }),
    },
    builds: {
      list: (query: BuildQuery = {}) => get<api.Page<api.Build>>('builds', query),
      get: (id: number) => get<api.BuildDetail>(at`builds/${id}`),
      byNumber: (builder: string, number: number) =>
        get<api.BuildDetail>(at`builders/${builder}/builds/${number}`),
      cancel: (id: number, reason?: string) => post<api.Build>(at`builds/${id}/cancel`, { reason }),
      /** The bytes of a step's log: from an offset on, of one stream, some lines, each with its time. */
      log: (id: number, step: number, { offset, ...query }: LogQuery = {}) =>
        send('GET', at`builds/${id}/steps/${step}/log`, {
          query: { ...query },
          headers: range(offset),
        }),
      /** Where some lines of a step's log lie, without reading them. */
      logLines: async (id: number, step: number, query: Pick<LogQuery, 'lines' | 'tail'>) =>
        linesIn(await send('HEAD', at`builds/${id}/steps/${step}/log`, { query: { ...query } })),
      /** Lines of a step's log in which something occurs; `everyMatch` goes on to the end. */
      searchLog: (id: number, step: number, query: LogSearchQuery) =>
        get<api.LogSearchResult>(at`builds/${id}/steps/${step}/log/search`, { ...query }),
      artifacts: (id: number, query: PageQuery = {}) =>
        get<api.Page<api.Artifact>>(at`builds/${id}/artifacts`, query),
      /** All artifacts as one file. */
      archive: (id: number, format: 'zip' | 'tar', { signal }: { signal?: Signal } = {}) =>
        send('GET', at`builds/${id}/artifacts.${format}`, signal ? { signal } : {}),
      /** The bytes of an artifact, from an offset on. */
      artifact: (id: number, path: string, from: { offset?: number; signal?: Signal } = {}) =>
        send('GET', artifactPath(id, path), {
          headers: range(from.offset),
          ...(from.signal ? { signal: from.signal } : {}),
        }),
    },
  };
}

function calls(options: ClientOptions) {
  const { send, json } = transport(options);
  return {
    send,
    json,
    get: <T>(path: string, query: object = {}) => json<T>('GET', path, { query: query as Query }),
    post: <T>(path: string, body: unknown = {}) => json<T>('POST', path, { body }),
    remove: (path: string) => json<void>('DELETE', path, {}),
  };
}

const base = (url: string) => `${url.replace(/\/+$/, '')}/api/v1`;

function transport({ url, token, csrf, fetch = host.fetch }: ClientOptions) {
  async function send(method: string, path: string, call: Call): Promise<FetchResponse> {
    const search = Object.entries(call.query ?? {}).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${encodeURIComponent(value)}`],
    );
    const guard = method === 'GET' ? undefined : csrf?.();
    if (!fetch) throw new TypeError('there is no fetch here; give one to createClient');
    let response: FetchResponse;
    try {
      response = await fetch(`${base(url)}/${path}${search.length ? `?${search.join('&')}` : ''}`, {
        method,
        headers: {
          accept: 'application/json, */*',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(guard === undefined ? {} : { 'x-csrf-token': guard }),
          ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...call.headers,
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        ...(call.signal ? { signal: call.signal } : {}),
        credentials: 'same-origin',
      });
    } catch (error) {
      if (call.signal?.aborted) throw error;
      throw new UnreachableError(url, { cause: error });
    }
    if (response.ok) return response;
    throw ProblemError.from(response.status, await response.text().catch(() => ''));
  }
  async function json<T>(method: string, path: string, call: Call): Promise<T> {
    const response = await send(method, path, call);
    let text: string;
    try {
      text = await response.text();
    } catch (error) {
      throw new UnreachableError(url, { cause: error });
    }
    if (text === '') return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw ProblemError.from(response.status, text);
    }
  }
  return { send, json };
}

function range(offset: number | undefined): Record<string, string> {
  return offset ? { range: `bytes=${offset}-` } : {};
}

/** A path whose inserted parts are escaped. */
function at(parts: TemplateStringsArray, ...values: (string | number)[]): string {
  return String.raw({ raw: parts.raw }, ...values.map((value) => encodeURIComponent(value)));
}

function artifactPath(build: number, path: string): string {
  return `builds/${build}/artifacts/${path.split('/').map(encodeURIComponent).join('/')}`;
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ProblemError && error.code === 'not-found') return null;
    throw error;
  }
}

function linesIn({ headers }: FetchResponse): LogLines {
  const [, first, last, total] =
    /^(\d+)-(\d+)\/(\d+)$/.exec(headers.get('x-log-lines') ?? '') ?? [];
  const from = Number(headers.get('x-log-offset'));
  const to = from + Number(headers.get('content-length'));
  return { first: Number(first), last: Number(last), total: Number(total), from, to };
}
