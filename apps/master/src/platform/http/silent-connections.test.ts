import { EventEmitter } from 'node:events';
import type { Server } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { trustOf } from './client-address.js';
import { markAdmitted, SilentConnections } from './silent-connections.js';

class Peer extends EventEmitter {
  destroyed = false;
  static ports = 0;
  readonly remotePort = ++Peer.ports;

  constructor(readonly remoteAddress: string) {
    super();
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function watched(trust: boolean | string = false) {
  let now = 0;
  const server = new EventEmitter();
  const limits = { connections: 100, silentConnections: 6, silentConnectionsPerAddress: 2 };
  const silent = new SilentConnections(limits, trustOf(trust), () => now);
  silent.watch(server as Server);
  const comes = (address: string): Peer => {
    const peer = new Peer(address);
    server.emit('connection', peer);
    return peer;
  };
  const asks = (socket: Peer, admit: boolean): void => {
    const response = new EventEmitter();
    server.emit('request', { socket }, response);
    if (admit) markAdmitted({ socket } as never);
    response.emit('close');
  };
  const later = (ms: number): void => {
    now += ms;
    silent.look();
  };
  return { server, silent, comes, asks, later };
}

const cut = (peers: Peer[]) => peers.map(({ destroyed }) => destroyed);

describe('connections on which nothing is said', () => {
  it('are bounded for one address: the longest silent is cut off, once it had time to say who it is', () => {
    const { comes, later } = watched();
    const peers = ['10.0.0.1', '10.0.0.1', '10.0.0.1', '10.0.0.2'].map(comes);
    later(1999);
    expect(cut(peers)).toEqual([false, false, false, false]);
    later(1);
    expect(cut(peers)).toEqual([true, false, false, false]);
  });

  it('are bounded for all, and for a network of IPv6 as for an address', () => {
    const { comes, later } = watched();
    const network = ['2001:db8::1', '2001:db8::2', '2001:db8::3'].map(comes);
    later(2000);
    expect(cut(network)).toEqual([true, false, false]);
    const others = Array.from({ length: 6 }, (_, n) => comes(`10.0.1.${n}`));
    later(2000);
    expect(cut(network)).toEqual([true, true, true]);
    expect(cut(others)).toEqual(others.map(() => false));
  });

  it.each(['127.0.0.1', '::1', '10.9.0.1'])('have no bound of their own from %s', (address) => {
    const { comes, later } = watched('10.9.0.1');
    const peers = Array.from({ length: 6 }, () => comes(address));
    later(2000);
    expect(cut(peers)).toEqual(peers.map(() => false));
  });

  it('are those of strangers: who was let in stays, and who asked is looked at anew', () => {
    const { comes, asks, later, silent } = watched();
    const [known, stranger, third] = ['10.0.0.1', '10.0.0.1', '10.0.0.1'].map(comes) as Peer[];
    later(1000);
    asks(known as Peer, true);
    asks(stranger as Peer, false);
    expect(silent.size).toBe(2);
    comes('10.0.0.1');
    later(1000);
    expect(cut([known, stranger, third] as Peer[])).toEqual([false, false, true]);
  });

  it('that wait for an upgrade are no silent ones, and those that close are forgotten', () => {
    const { comes, server, silent } = watched();
    const socket = comes('10.0.0.1');
    server.emit('upgrade', { socket });
    expect(silent.size).toBe(0);
    comes('10.0.0.1').destroy();
    expect(silent.size).toBe(0);
    server.emit('close');
  });
});
