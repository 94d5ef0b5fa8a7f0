import type { LiveMessage } from '@impgem/client';
import { deferred } from '@impgem/kit';
import { WebSocket } from 'ws';
import { TickerReader } from './ticker.js';

export interface WatchedLog {
  url: string;
  token: string;
  build: number;
  step: number;
}

/** A viewer of a live log. */
export interface Watching {
  reader: TickerReader;
  /** The master has taken the subscription. */
  subscribed: Promise<void>;
  /** The log is complete, with so many bytes; rejects when the connection ends before. */
  ended: Promise<number>;
  /** Reads nothing more from its socket. */
  stall(): void;
  close(): void;
}

/** Watches a ticker's log from its start. */
export function watch({ url, token, build, step }: WatchedLog, everyLine: boolean): Watching {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/v1/live`, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  });
  const reader = new TickerReader(everyLine);
  const subscribed = deferred();
  const ended = new Promise<number>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`a viewer was closed with ${code}`)));
    socket.on('message', (bytes: Buffer) => {
      try {
        const message = JSON.parse(bytes.toString()) as LiveMessage;
        if (message.type === 'hello')
          socket.send(
            JSON.stringify({ type: 'subscribe', id: '1', topic: 'log', build, step, offset: 0 }),
          );
        else if (message.type === 'subscribed') subscribed.resolve();
        else if (message.type === 'log') reader.take(message);
        else if (message.type === 'log.end') resolve(message.bytes);
        else if (message.type === 'error') throw new Error(message.detail);
      } catch (error) {
        reject(error);
      }
    });
  });
  ended.catch(() => undefined);
  return {
    reader,
    subscribed: Promise.race([subscribed.promise, ended.then(() => undefined)]),
    ended,
    stall: () => socket.pause(),
    close: () => socket.terminate(),
  };
}
