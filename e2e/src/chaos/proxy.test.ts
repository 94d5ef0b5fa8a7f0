import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { eventually } from '@impgem/testkit';
import { FaultProxy } from './proxy.js';

/** A peer, and all that it has heard. */
interface End {
  socket: Socket;
  heard: string;
  closed: boolean;
}

function endOf(socket: Socket): End {
  const end: End = { socket, heard: '', closed: false };
  socket.on('data', (bytes) => (end.heard += bytes.toString()));
  socket.on('error', () => undefined);
  socket.on('close', () => (end.closed = true));
  return end;
}

const timely = { timeoutMs: 5000 };

describe('the proxy of faults', () => {
  let server: Server;
  let proxy: FaultProxy;
  let masters: End[];
  let workers: End[];
  beforeEach(async () => {
    masters = [];
    workers = [];
    server = createServer((socket) => masters.push(endOf(socket)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    // the first is nobody: it is passed over
    const ports = () => [1, (server.address() as AddressInfo).port];
    proxy = await FaultProxy.listen('127.0.0.1', ports);
  });
  afterEach(async () => {
    for (const { socket } of [...masters, ...workers]) socket.destroy();
    await proxy.close();
    await new Promise((resolve) => server.close(resolve));
  });

  async function dial(): Promise<[worker: End, master: End]> {
    const before = masters.length;
    const worker = endOf(connect(proxy.port, '127.0.0.1'));
    workers.push(worker);
    await eventually(() => masters.length > before, timely);
    return [worker, masters.at(-1) as End];
  }
  const hears = (end: End, text: string) =>
    eventually(() => end.heard === text, { ...timely, what: text, saw: () => end.heard });

  it('carries both ways, and the end of either', async () => {
    const [worker, master] = await dial();
    worker.socket.write('up');
    master.socket.write('down');
    await hears(master, 'up');
    await hears(worker, 'down');
    worker.socket.end();
    await eventually(() => master.closed && worker.closed, timely);
  });

  it('holds one direction up, and loses nothing', async () => {
    const [worker, master] = await dial();
    proxy.stall(['up']);
    worker.socket.write('held');
    master.socket.write('down');
    await hears(worker, 'down');
    expect(master.heard).toBe('');
    proxy.heal();
    await hears(master, 'held');
  });

  it('cuts, and refuses until it is healed', async () => {
    const [worker, master] = await dial();
    proxy.cut();
    await eventually(() => worker.closed && master.closed, timely);
    const refused = endOf(connect(proxy.port, '127.0.0.1'));
    await eventually(() => refused.closed, timely);
    proxy.heal();
    await dial();
  });

  it('lets little through while it is slow, and the rest once it is healed', async () => {
    const [worker, master] = await dial();
    proxy.slow(1);
    worker.socket.write('x'.repeat(500_000));
    await eventually(() => master.heard.length > 0, timely);
    // the second piece comes hours later
    expect(master.heard.length).toBeLessThan(500_000);
    proxy.heal();
    await eventually(() => master.heard.length === 500_000, {
      ...timely,
      saw: () => `${master.heard.length} bytes`,
    });
  });

  it('keeps the end of the master, and says late what was under way', async () => {
    const [worker, master] = await dial();
    const orphaned = proxy.orphan(200);
    worker.socket.write('late');
    await orphaned;
    await eventually(() => worker.closed, timely);
    expect([master.heard, master.closed]).toEqual(['', false]);
    const [, second] = await dial();
    expect(proxy.connections).toBe(1);
    expect(proxy.sayLate()).toBe(4);
    await hears(master, 'late');
    proxy.heal();
    await eventually(() => master.closed, timely);
    expect(second.closed).toBe(false);
  });
});
