import { eventually, patient } from '@impgem/testkit';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  openLive,
  type FarmEvent,
  type Live,
  type LiveMessage,
  type LiveOptions,
  type LiveRequest,
  type ProblemError,
  type SocketClass,
} from '@impgem/client';
import { WebSocket, WebSocketServer } from 'ws';

/** The live socket of libs/client against a real server: here, since libs/client knows no Node. */
describe('the live socket', () => {
  let server: WebSocketServer;
  let peers: Peer[];
  let live: Live | undefined;

  beforeEach(async () => {
    peers = [];
    server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    server.on('connection', (socket, { headers }) =>
      peers.push(new Peer(socket, headers.authorization)),
    );
    await once(server, 'listening');
  });
  afterEach(async () => {
    live?.close();
    for (const { socket } of peers) socket.terminate();
    await new Promise((done) => server.close(done));
  });

  const open = (options: Partial<LiveOptions> = {}) => {
    const { port } = server.address() as AddressInfo;
    live = openLive({
      url: `http://127.0.0.1:${port}`,
      token: 'igt_x',
      WebSocket: WebSocket as unknown as SocketClass,
      backoffMs: () => 5,
      ...options,
    });
    return live;
  };
  const peer = async (n: number) => {
    await eventually(() => peers.length > n);
    return peers[n] as Peer;
  };

  it('sends its token as a header, and asks once it is greeted', async () => {
    open().events({ build: 3 }, { event: () => {} });
    const first = await peer(0);
    expect(first.authorization).toBe('Bearer igt_x');
    expect(first.requests).toEqual([]);
    first.greet();
    await first.until(1);
    expect(first.requests).toEqual([
      { type: 'subscribe', id: expect.any(String), topic: 'events', build: 3 },
    ]);
  });

  it('goes on after the last event when the connection was cut', async () => {
    const seen: string[] = [];
    open().events({}, { event: ({ id }) => seen.push(id) });
    const first = (await peer(0)).greet();
    const { id } = await first.until(1);
    first.send({ type: 'subscribed', id, after: '1.0' });
    first.send({ type: 'event', id, event: event('1.1') });
    first.send({ type: 'event', id, event: event('1.2') });
    await eventually(() => seen.length === 2);
    first.socket.terminate();
    const second = (await peer(1)).greet();
    const again = await second.until(1);
    expect(again).toMatchObject({ topic: 'events', after: '1.2' });
    second.send({ type: 'event', id: again.id, event: event('1.2') });
    second.send({ type: 'event', id: again.id, event: event('1.3') });
    await eventually(() => seen.length === 3);
    expect(seen).toEqual(['1.1', '1.2', '1.3']);
  });

  it('goes on from where it began to listen when nothing had come before the cut', async () => {
    open().events({}, { event: () => {} });
    const first = (await peer(0)).greet();
    first.send({ type: 'subscribed', id: (await first.until(1)).id, after: '7.7' });
    // An answer to a later request shows that the one before was heard.
    live?.events({}, { event: () => {}, subscribed: () => first.socket.terminate() });
    first.send({ type: 'subscribed', id: (await first.until(2)).id, after: '8.8' });
    const second = (await peer(1)).greet();
    await second.until(2);
    expect(second.requests).toMatchObject([{ after: '7.7' }, { after: '8.8' }]);
  });

  it('goes on at the byte where a log was cut, without a byte missed or doubled', async () => {
    const text: string[] = [];
    let end: number | undefined;
    open().log(
      { build: 1, step: 2 },
      { piece: (piece) => text.push(piece.text), end: (n) => (end = n) },
    );
    const first = (await peer(0)).greet();
    const { id } = await first.until(1);
    expect(first.requests[0]).toMatchObject({ topic: 'log', build: 1, step: 2, offset: 0 });
    first.send(piece(id, 0, 'hello '));
    await eventually(() => text.length === 1);
    first.socket.terminate();
    const second = (await peer(1)).greet();
    const again = await second.until(1);
    expect(again).toMatchObject({ offset: 6 });
    second.send(piece(again.id, 0, 'hello '));
    second.send(piece(again.id, 6, 'world'));
    second.send({ type: 'log.end', id: again.id, step: 2, bytes: 11 });
    await eventually(() => end !== undefined);
    expect([text.join(''), end]).toEqual(['hello world', 11]);
  });

  it('asks again from the next byte when a piece is missing', async () => {
    const text: string[] = [];
    open().log({ build: 1, step: 2, offset: 2 }, { piece: (piece) => text.push(piece.text) });
    const first = (await peer(0)).greet();
    const { id } = await first.until(1);
    first.send(piece(id, 5, 'lost'));
    await first.until(3);
    expect(first.requests.slice(1)).toMatchObject([
      { type: 'unsubscribe', id },
      { type: 'subscribe', topic: 'log', offset: 2 },
    ]);
    first.send(piece(first.requests[2]?.id ?? '', 2, 'abc'));
    await eventually(() => text.length === 1);
    expect(text).toEqual(['abc']);
  });

  it('finds out that a connection is dead, and makes another', async () => {
    // all of them are greeted, and hear nothing more
    server.on('connection', () => peers.at(-1)?.greet());
    open({ silenceMs: 100 });
    const asked = () => peers.findIndex(({ requests }) => requests.at(-1)?.id === 'alive');
    await eventually(() => asked() >= 0 && asked() < peers.length - 1);
    expect(peers[asked()]?.requests.at(-1)?.type).toBe('unsubscribe');
  });

  it('keeps a silent connection that answers', async () => {
    // long enough for a busy machine to answer
    open({ silenceMs: patient(400) });
    const first = (await peer(0)).greet();
    first.onRequest = ({ id }) => first.send({ type: 'unsubscribed', id });
    await first.until(2);
    expect(peers).toHaveLength(1);
  });

  it('reads nothing while it is paused, and does not take that for silence', async () => {
    const text: string[] = [];
    // long enough for a busy machine to greet, short beside the pause
    const socket = open({ silenceMs: patient(300) });
    socket.log({ build: 1, step: 2 }, { piece: (piece) => text.push(piece.text) });
    const first = (await peer(0)).greet();
    first.onRequest = ({ id }) => first.send({ type: 'unsubscribed', id });
    const { id } = await first.until(1);
    socket.pause();
    first.send(piece(id, 0, 'late'));
    await new Promise((done) => setTimeout(done, patient(800)));
    expect([text, peers.length]).toEqual([[], 1]);
    socket.resume();
    await eventually(() => text.length === 1);
    expect([text, peers.length]).toEqual([['late'], 1]);
  });

  it('tells a refused subscription, and comes back for one that the database could not serve', async () => {
    const errors: string[] = [];
    open().log(
      { build: 9, step: 0 },
      { piece: () => {}, error: ({ code }: ProblemError) => errors.push(code) },
    );
    const first = (await peer(0)).greet();
    const { id } = await first.until(1);
    first.send({ type: 'error', id, code: 'database-unavailable', detail: 'later' });
    const second = (await peer(1)).greet();
    const again = await second.until(1);
    second.send({ type: 'error', id: again.id, code: 'not-found', detail: 'no such build' });
    await eventually(() => errors.length > 0);
    expect(errors).toEqual(['not-found']);
  });

  it('stops for good when its token is refused at the door, or revoked later', async () => {
    const refused: number[] = [];
    const onRefused = ({ status }: ProblemError) => refused.push(status);
    open({ onRefused });
    (await peer(0)).greet().socket.close(4403, 'revoked');
    await eventually(() => refused.length === 1);
    expect(live?.state).toBe('closed');
    await new Promise((done) => server.close(done));
    for (const { socket } of peers) socket.terminate();
    const { port } = (server.address() as AddressInfo) ?? { port: 0 };
    server = new WebSocketServer({
      port,
      host: '127.0.0.1',
      verifyClient: (_, done) => done(false, 401),
    });
    await once(server, 'listening');
    open({ onRefused });
    await eventually(() => refused.length === 2);
    expect(refused).toEqual([401, 401]);
  });
});

class Peer {
  readonly requests: LiveRequest[] = [];
  onRequest: (request: LiveRequest) => void = () => {};
  constructor(
    readonly socket: WebSocket,
    readonly authorization: string | undefined,
  ) {
    socket.on('message', (data) => {
      const request = JSON.parse(String(data)) as LiveRequest;
      this.requests.push(request);
      this.onRequest(request);
    });
  }
  greet(): this {
    this.send({ type: 'hello', actor: 'token:test' });
    return this;
  }
  send(message: LiveMessage): void {
    this.socket.send(JSON.stringify(message));
  }
  /** Waits for so many requests; answers the last. */
  async until(n: number): Promise<LiveRequest> {
    await eventually(() => this.requests.length >= n);
    return this.requests[n - 1] as LiveRequest;
  }
}

const event = (id: string): FarmEvent => ({
  id,
  kind: 'step.started',
  at: '2026-01-01T00:00:00Z',
  data: {},
});
const piece = (id: string, offset: number, text: string): LiveMessage => ({
  type: 'log',
  id,
  step: 2,
  stream: 'stdout',
  offset,
  length: text.length,
  at: '2026-01-01T00:00:00Z',
  text,
});
