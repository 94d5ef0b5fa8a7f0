/** For tests: what PgBouncer does with `pool_mode = transaction`, as far as it matters to who is behind it. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Client } from 'pg';

const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const AUTHENTICATION_OK = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]);

/** A session with the server, and the client that has it for the moment. */
interface Session {
  socket: Socket;
  client: Socket | undefined;
}

export class TransactionPooler {
  readonly #sessions: Session[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #clients: Client[] = [];

  private constructor(private readonly server: Server) {}

  static async start(url: string, size: number): Promise<TransactionPooler> {
    const server = createServer();
    const pooler = new TransactionPooler(server);
    for (let n = 0; n < size; n++) {
      const client = new Client(url);
      client.on('error', () => undefined);
      await client.connect();
      const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
      // From here on its bytes are its client's.
      stream.removeAllListeners('data');
      const session: Session = { socket: stream, client: undefined };
      stream.on('data', (bytes) => pooler.#answer(session, bytes));
      pooler.#sessions.push(session);
      pooler.#clients.push(client);
    }
    server.on('connection', (socket) => pooler.#accept(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return pooler;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const { socket, client } of this.#sessions) {
      client?.destroy();
      socket.destroy();
    }
    this.server.close();
    await once(this.server, 'close');
  }

  #accept(socket: Socket): void {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(Buffer.concat([AUTHENTICATION_OK, READY]));
      socket.on('data', (bytes) => {
        // Terminate: the session is the pooler's.
        if (bytes[0] === 0x58) return void socket.end();
        const send = (): void => {
          const mine = this.#sessions.find(({ client }) => client === socket);
          const session = mine ?? this.#sessions.find(({ client }) => client === undefined);
          if (!session) return void this.#waiting.push(send);
          session.client = socket;
          session.socket.write(bytes);
        };
        send();
      });
    });
  }

  #answer(session: Session, bytes: Buffer): void {
    // What comes without a client, as notifications do, is nobody's.
    session.client?.write(bytes);
    if (!bytes.subarray(-6).equals(READY)) return;
    session.client = undefined;
    this.#waiting.shift()?.();
  }
}
