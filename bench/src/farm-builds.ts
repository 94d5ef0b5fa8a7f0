import type { BuildDetail, BuildRequest, FarmEvent, LiveMessage } from '@impgem/client';
import type { Farm } from '@impgem/e2e';
import { WebSocket } from 'ws';

/** Builds of a farm, from the trigger (one POST each) to the news of their end on the live socket. */
export class FarmBuilds {
  readonly #ended = new Map<number, (at: number) => void>();
  readonly #early = new Map<number, number>();

  private constructor(
    readonly farm: Farm,
    readonly socket: WebSocket,
  ) {}

  static async open(farm: Farm): Promise<FarmBuilds> {
    const socket = new WebSocket(`${farm.url.replace('http', 'ws')}/api/v1/live`, {
      headers: { authorization: `Bearer ${farm.token}` },
    });
    const builds = new FarmBuilds(farm, socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.on('message', (bytes: Buffer) => {
        const message = JSON.parse(bytes.toString()) as LiveMessage;
        if (message.type === 'hello') socket.send('{"type":"subscribe","id":"1","topic":"events"}');
        else if (message.type === 'subscribed') resolve();
        else if (message.type === 'event') builds.#take(message.event);
      });
    });
    return builds;
  }

  /** Triggers one build; resolves with the time of its end as seen here, in ms of `performance.now()`. */
  async run(builder: string): Promise<{ request: number; ended: number }> {
    const { id } = await this.farm.request(builder);
    const early = this.#early.get(id);
    const ended =
      early ?? (await new Promise<number>((resolve) => void this.#ended.set(id, resolve)));
    return { request: id, ended };
  }

  /** A build counts when its rows are there, it succeeded, and its log is what the step printed. */
  async check(request: number, expected: string): Promise<void> {
    const row = await this.farm.api<BuildRequest>('GET', `/build-requests/${request}`);
    const id = row.builds.at(-1)?.id;
    const build = await this.farm.api<BuildDetail>('GET', `/builds/${id}`);
    const log = (await this.farm.log(build.id, 0, '?stream=stdout')).toString();
    if (build.result !== 'success' || log !== expected) {
      throw new Error(`build ${id}: ${build.result}, log ${JSON.stringify(log)}`);
    }
  }

  close(): void {
    this.socket.terminate();
  }

  #take({ kind, request }: FarmEvent): void {
    if (kind !== 'request.finished' || request === undefined) return;
    const at = performance.now();
    const tell = this.#ended.get(request);
    if (tell) tell(at);
    else this.#early.set(request, at);
  }
}
