import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type {
  Artifact,
  BuildDetail,
  BuildRequest,
  LiveMessage,
  LiveRequest,
  Problem,
  Step,
} from '@impgem/client';
import { WebSocketServer, type WebSocket } from 'ws';

/** A master for tests of the command line: its answers are data, its live socket sends what the test says. */
export class ScriptedMaster {
  /** `GET /builds/1` (below /api/v1) to its JSON; a `Problem` gives its status. */
  readonly answers = new Map<string, unknown>();
  /** What was asked: method, path and body. */
  readonly asked: { call: string; body: unknown; authorization: string | undefined }[] = [];
  /** Bytes of artifacts by path. */
  readonly files = new Map<string, Buffer>();
  /** Subscriptions that are open. */
  readonly subscriptions: { socket: WebSocket; request: LiveRequest & { type: 'subscribe' } }[] =
    [];
  readonly #server: Server;
  readonly #sockets: WebSocketServer;

  constructor() {
    this.#server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        const path = (request.url ?? '').replace('/api/v1', '').replace(/\?.*/, '');
        const call = `${request.method} ${path}`;
        const body: unknown = text === '' ? undefined : JSON.parse(text);
        this.asked.push({ call, body, authorization: request.headers.authorization });
        const file = this.files.get(path);
        if (file) {
          response.end(file);
          return;
        }
        const answer = this.answers.get(call) ?? problem('not-found', 404, `no ${call}`);
        const status = isProblem(answer) ? answer.status : 200;
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(answer));
      });
    });
    this.#sockets = new WebSocketServer({ server: this.#server, path: '/api/v1/live' });
    this.#sockets.on('connection', (socket) => {
      socket.on('message', (data) => this.#live(socket, JSON.parse(String(data)) as LiveRequest));
      socket.send(JSON.stringify({ type: 'hello', actor: 'token:test' }));
    });
  }

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.cut();
    this.#sockets.close();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  /** Cuts all live sockets. */
  cut(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.subscriptions.length = 0;
  }

  /** Says to all who listen to events that something happened. */
  happen(kind: string): void {
    for (const { socket, request } of this.subscriptions) {
      if (request.topic !== 'events') continue;
      const event = {
        id: String(Math.random()),
        kind,
        at: new Date().toISOString(),
        request: 1,
        build: 1,
        data: {},
      };
      socket.send(JSON.stringify({ type: 'event', id: request.id, event } satisfies LiveMessage));
    }
  }

  /** The subscription to a step's log, once there is one. */
  async log(build: number, step: number) {
    const find = () =>
      this.subscriptions.find(
        ({ request: r }) => r.topic === 'log' && r.build === build && r.step === step,
      );
    while (!find()) await new Promise((done) => setTimeout(done, 2));
    const { socket, request } = find() as (typeof this.subscriptions)[number];
    const { id } = request;
    let offset = request.topic === 'log' ? (request.offset ?? 0) : 0;
    return {
      from: offset,
      write: (
        text: string,
        stream: 'stdout' | 'stderr' | 'system' = 'stdout',
        at = '2026-01-01T00:00:01Z',
      ) => {
        const length = Buffer.byteLength(text);
        const piece: LiveMessage = { type: 'log', id, step, stream, offset, length, at, text };
        socket.send(JSON.stringify(piece));
        offset += length;
      },
      end: () =>
        socket.send(
          JSON.stringify({ type: 'log.end', id, step, bytes: offset } satisfies LiveMessage),
        ),
    };
  }

  #live(socket: WebSocket, request: LiveRequest): void {
    if (request.type === 'unsubscribe') {
      const at = this.subscriptions.findIndex(
        (s) => s.socket === socket && s.request.id === request.id,
      );
      if (at >= 0) this.subscriptions.splice(at, 1);
      return;
    }
    this.subscriptions.push({ socket, request });
    socket.send(
      JSON.stringify({ type: 'subscribed', id: request.id, after: '0.0' } satisfies LiveMessage),
    );
  }
}

export function problem(
  code: Problem['code'],
  status: number,
  detail: string,
  problems: Problem['problems'] = [],
): Problem {
  return { type: 'about:blank', title: code, status, code, detail, problems };
}
const isProblem = (answer: unknown): answer is Problem =>
  typeof answer === 'object' && answer !== null && 'status' in answer && 'code' in answer;

const TIME = '2026-01-01T00:00:00Z';

export function aRequest(change: Partial<BuildRequest> = {}): BuildRequest {
  return {
    id: 1,
    builder: 'hello',
    state: 'pending',
    result: null,
    reason: null,
    properties: {},
    priority: 0,
    submittedAt: TIME,
    submittedBy: 'token:test',
    builds: [],
    ...change,
  };
}

export function aBuild(change: Partial<BuildDetail> = {}): BuildDetail {
  return {
    id: 1,
    builder: 'hello',
    number: 1,
    request: 1,
    attempt: 1,
    state: 'running',
    result: null,
    reason: null,
    worker: 'local',
    properties: {},
    submittedBy: 'token:test',
    createdAt: TIME,
    startedAt: TIME,
    finishedAt: null,
    steps: [],
    artifacts: [],
    plan: {},
    farmVersion: 1,
    ...change,
  };
}

export function aStep(index: number, name: string, change: Partial<Step> = {}): Step {
  return {
    index,
    name,
    kind: 'run',
    state: 'pending',
    result: null,
    reason: null,
    exitCode: null,
    startedAt: null,
    finishedAt: null,
    log: { bytes: 0, lines: 0, finished: false, removed: false, sha256: null },
    ...change,
  };
}

export const running: Partial<Step> = { state: 'running', startedAt: TIME };
export const finished = (result: Step['result'], more: Partial<Step> = {}): Partial<Step> => ({
  state: 'finished',
  result,
  startedAt: TIME,
  finishedAt: '2026-01-01T00:00:02Z',
  ...more,
});

export const anArtifact = (path: string, content: Buffer, sha256: string): Artifact => ({
  path,
  size: content.length,
  sha256,
  mode: 0o755,
  createdAt: TIME,
});
