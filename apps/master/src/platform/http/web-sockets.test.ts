import { describe, expect, it } from '@jest/globals';
import { closeReason } from '@impgem/kit';
import * as fc from 'fast-check';
import { CLOSE, subprotocol, versionAdvice } from '@impgem/protocol';
import { closeSocket } from './web-sockets.js';
import { WebSocketServer, WebSocket } from 'ws';
import { once } from 'node:events';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const anyText = fc.string({ unit: character, maxLength: 400 });
const halves = fc.string({ unit: fc.constantFrom('\ud83d', '\ude00', 'a', 'é'), maxLength: 200 });

describe('the reason of a close frame', () => {
  it('fits for any text, is cut at a character, and is otherwise as it was', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, halves), (text) => {
        const reason = closeReason(text);
        const bytes = Buffer.byteLength(reason);
        expect(bytes).toBeLessThanOrEqual(123);
        expect(Buffer.from(reason).toString()).toBe(reason);
        const whole = Buffer.from(text).toString();
        expect(whole.startsWith(reason)).toBe(true);
        if (bytes < 120) expect(reason).toBe(whole);
      }),
    );
  });

  it('is short for each version that a peer may offer, and says what to upgrade', () => {
    const offer = fc.oneof(
      anyText,
      fc.nat().map((n) => `${'9'.repeat(n % 300)}.${n}`),
    );
    fc.assert(
      fc.property(offer, (text) => {
        const advice = versionAdvice([subprotocol().replace(/v[\d.]+$/, `v${text}`)]);
        expect(closeReason(advice)).toMatch(/: upgrade the (master|worker)$/);
      }),
    );
  });

  it('reaches the peer with each code of the worker socket', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(server, 'listening');
    const codes = Object.values(CLOSE);
    server.on('connection', (socket) => {
      void closeSocket(socket, codes[server.clients.size - 1] ?? 0, '\u{1f6a7}'.repeat(1000));
    });
    const { port } = server.address() as { port: number };
    const seen: unknown[] = [];
    const peers = codes.map(async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`);
      seen.push(((await once(socket, 'close')) as unknown[])[0]);
    });
    await Promise.all(peers);
    server.close();
    expect(seen.length).toBe(codes.length);
  });
});
