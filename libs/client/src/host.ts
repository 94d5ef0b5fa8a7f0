/**
 * What this library takes from where it runs, a browser or Node: the few members it uses, as types of its own,
 * since a library for both compiles with neither's.
 */
export interface FetchInit {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  credentials?: 'same-origin';
  signal?: Signal;
}
export interface FetchResponse {
  ok: boolean;
  status: number;
  headers: { get(name: string): string | null };
  /** Bytes; null for an answer without a body. */
  body: unknown;
  text(): Promise<string>;
}
export type Fetch = (url: string, init?: FetchInit) => Promise<FetchResponse>;

/** An `AbortSignal`. */
export interface Signal {
  readonly aborted: boolean;
}

export interface SocketMessage {
  data: unknown;
}
export interface SocketClose {
  code: number;
  reason: string;
}
/** The part of `WebSocket` that browsers and `ws` share. */
export interface Socket {
  /** 1 while it is open. */
  readonly readyState: number;
  addEventListener(type: string, listener: (event: never) => void): void;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** `ws` only: stop and go on reading. */
  pause?(): void;
  resume?(): void;
  /** `ws` only: closes without a handshake. */
  terminate?(): void;
}
export type SocketClass = new (
  url: string,
  protocols: string[],
  options?: { headers: Record<string, string> },
) => Socket;

interface Host {
  fetch?: Fetch;
  WebSocket?: SocketClass;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const host = globalThis as unknown as Host;
