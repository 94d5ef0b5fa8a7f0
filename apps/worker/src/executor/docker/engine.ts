import { FarmError, cutText } from '@impgem/kit';
import type { ReasonCode } from '@impgem/protocol';
import Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

export const DEFAULT_SOCKET = '/var/run/docker.sock';

/** Whether the engine listens on a socket of this machine. */
export const isLocal = (host: string | undefined): boolean =>
  host === undefined || host.startsWith('/') || host.startsWith('unix://');

/** A client of the engine at `host`; nothing is sent yet. */
export function connect(host: string | undefined): Docker {
  if (host === undefined) return new Docker({ socketPath: DEFAULT_SOCKET });
  if (host.startsWith('/')) return new Docker({ socketPath: host });
  if (host.startsWith('unix://')) return new Docker({ socketPath: host.slice('unix://'.length) });
  const url = new URL(host.replace(/^tcp:/, 'http:'));
  return new Docker({
    protocol: url.protocol === 'https:' ? 'https' : 'http',
    host: url.hostname,
    port: Number(url.port || 2375),
  });
}

/** The HTTP status that the engine answered with, if it answered. */
export function statusOf(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown }).statusCode;
  return typeof status === 'number' ? status : undefined;
}

/** The engine's own words, without the client's wrapping. */
export function wordsOf(error: unknown): string {
  const { json, message } = error as { json?: { message?: unknown } | null; message?: string };
  const said = typeof json?.message === 'string' ? json.message : (message ?? String(error));
  return cutText(said.trim(), 1500);
}

/** What to do about it, where that is known. */
function mendOf(error: unknown): string {
  if (/no space left on device|disk quota exceeded/i.test(wordsOf(error)))
    return ": the engine's disk is full; make room there (docker system df)";
  if (/storage-opt|pquota/i.test(wordsOf(error)))
    return ": take 'disk' out of the worker's policy file, or keep the engine's data on xfs with pquota";
  return '';
}

/** Tells an engine that is not there from one that refused. `doing` completes "the engine refused to …". */
export function engineFailure(error: unknown, doing: string): FarmError {
  if (error instanceof FarmError) return error;
  const status = statusOf(error);
  const code: ReasonCode = status === undefined ? 'engine-unavailable' : 'engine-error';
  const message =
    status === undefined
      ? `the Docker Engine went away (to ${doing}): ${wordsOf(error)}`
      : `the Docker Engine refused to ${doing}: ${wordsOf(error)}${mendOf(error)}`;
  return new FarmError(code, message, {}, { cause: error });
}

/** What to do when no engine answers at start. */
export function noEngine(error: unknown, host: string | undefined): FarmError {
  const where = host ?? `unix://${DEFAULT_SOCKET}`;
  const { code } = error as NodeJS.ErrnoException;
  const mend =
    code === 'EACCES'
      ? "this user may not use it; add the user to the group 'docker', or run the worker as root"
      : 'start one (systemctl start docker), point DOCKER_HOST to it, or set IMPGEM_EXECUTOR=host';
  return new FarmError(
    'engine-unavailable',
    `no Docker Engine answers at ${where} (${code ?? wordsOf(error)}): ${mend}`,
    {},
    { cause: error },
  );
}

/** Passes over "it is not there" (404), and over "it is going already" (409) where asked. */
export async function unlessGone(work: Promise<unknown>, alsoBusy = false): Promise<void> {
  try {
    await work;
  } catch (error) {
    const status = statusOf(error);
    if (status !== 404 && status !== 304 && !(alsoBusy && status === 409)) throw error;
  }
}

/** So often is asked when the engine refuses, because something still holds what shall go. */
const REMOVE_TRIES = 10;
const REMOVE_WAIT_MS = 100;
/** An engine that does not answer is being restarted, as a rule: so long it is asked again. */
const AWAY_MS = 60_000;
const AWAY_WAIT_MS = 500;

/** Removes something of ours; never rejects. What cannot be removed now is left to the sweep. */
export async function removeInsisting(remove: () => Promise<unknown>): Promise<void> {
  const last = performance.now() + AWAY_MS;
  for (let refused = 0; refused < REMOVE_TRIES;) {
    try {
      await unlessGone(remove());
      return;
    } catch (error) {
      const away = statusOf(error) === undefined;
      if (away && performance.now() > last) return;
      if (!away) refused += 1;
      await delay(away ? AWAY_WAIT_MS : REMOVE_WAIT_MS);
    }
  }
}

/**
 * Tells one run of the engine from the next: it makes its default bridge anew when it starts (but not when it
 * found containers that it left running for the purpose, whose output it then has). Empty where there is none.
 */
export async function runOf(engine: Docker): Promise<string> {
  try {
    const { Created } = (await engine.getNetwork('bridge').inspect()) as { Created?: string };
    return Created ?? '';
  } catch (error) {
    if (statusOf(error) === 404) return '';
    throw error;
  }
}

/**
 * The exit code of a container, once it does not run. Rejects when the engine goes away meanwhile: the client's own
 * `wait` would not, since the answer has begun by then.
 */
export async function exitOf(container: Docker.Container): Promise<number> {
  const answer = await dial(container.modem as Docker['modem'], {
    path: `/containers/${container.id}/wait?condition=not-running`,
    method: 'POST',
  });
  let text = '';
  for await (const piece of answer) text += String(piece);
  return (JSON.parse(text) as { StatusCode: number }).StatusCode;
}

/**
 * A container's output as the engine keeps it, from the beginning, in frames for `KeptFrames`; unlike the client's `logs` never
 * whole in memory. With `follow`, what comes later too, but its end may be missing.
 */
export function keptOutput(engine: Docker, id: string, follow: boolean): Promise<Readable> {
  return dial(engine.modem, {
    path: `/containers/${id}/logs?`,
    method: 'GET',
    options: { stdout: true, stderr: true, timestamps: true, follow },
  });
}

/** Asks about a container, for an answer that comes bit by bit. */
function dial(
  modem: Docker['modem'],
  request: { path: string; method: string; options?: object },
): Promise<Readable> {
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error' };
  return new Promise((resolve, reject) => {
    modem.dial({ ...request, isStream: true, statusCodes }, (error, stream) =>
      error ? reject(error) : resolve(stream as Readable),
    );
  });
}
