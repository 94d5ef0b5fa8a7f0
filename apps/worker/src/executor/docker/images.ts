import { deferred, FarmError, quoted } from '@impgem/kit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { engineFailure, statusOf, wordsOf } from './engine.js';
import { PulledImages } from './pulled-images.js';
import { PullProgress } from './pull-progress.js';
import type { PullEvent } from './pull-progress.js';
import { credentialsFor } from './registry-credentials.js';

/** Lines about one pull come no faster than this, in milliseconds. */
const SAY_EVERY_MS = 2000;

interface Pull {
  done: Promise<void>;
  /** One for each step that waits. */
  listeners: Set<(line: string) => void>;
  abandon(): void;
}

/** An image that is on the engine. */
export interface FoundImage {
  /** The name with a tag or digest, never bare. */
  reference: string;
  /** What it is exactly: the registry's digest, or the engine's id for a local image. */
  digest: string;
  /** The engine's own. */
  id: string;
}

/**
 * Sees to it that images are there: pulled only when missing, one pull for all builds that wait for it. A pull
 * goes on until nobody waits any more.
 */
export class Images {
  readonly #pulls = new Map<string, Pull>();
  /** How many steps are about to use each. */
  readonly #held = new Map<string, number>();

  constructor(
    private readonly engine: Docker,
    private readonly dockerConfig: string | undefined,
    private readonly pulled = new PulledImages(),
  ) {}

  /** Until the returned function is called the image is not removed to make room. */
  hold(name: string): () => void {
    const reference = complete(name);
    this.#held.set(reference, (this.#held.get(reference) ?? 0) + 1);
    return () => {
      const left = (this.#held.get(reference) ?? 1) - 1;
      if (left > 0) this.#held.set(reference, left);
      else this.#held.delete(reference);
    };
  }

  isHeld(reference: string): boolean {
    return this.#held.has(reference);
  }

  /** Rejects with `image-unavailable` (the registry's answer and what to do) or `cancelled`. */
  async ensure(
    name: string,
    say: (line: string) => void,
    signal: AbortSignal,
  ): Promise<FoundImage> {
    const reference = complete(name);
    const there = await this.#find(reference);
    if (there) {
      await this.pulled.used(reference);
      return there;
    }
    await this.#pull(reference, say, signal);
    const pulled = await this.#find(reference);
    if (pulled) {
      await this.pulled.pulled(reference, pulled.id);
      return pulled;
    }
    throw unavailable(reference, 'the pull ended, yet the engine does not have it');
  }

  async #find(reference: string): Promise<FoundImage | undefined> {
    try {
      const { Id, RepoDigests } = await this.engine.getImage(reference).inspect();
      return { reference, digest: RepoDigests?.[0]?.split('@')[1] ?? Id, id: Id };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  async #pull(reference: string, say: (line: string) => void, signal: AbortSignal): Promise<void> {
    const pull = this.#pulls.get(reference) ?? this.#begin(reference);
    pull.listeners.add(say);
    say(`pulling ${reference}`);
    const aborted = deferred<never>();
    const stop = (): void =>
      aborted.reject(new FarmError('cancelled', 'cancelled while the image was pulled'));
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      await Promise.race([pull.done, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
      pull.listeners.delete(say);
      if (pull.listeners.size === 0) pull.abandon();
    }
  }

  #begin(reference: string): Pull {
    const listeners: Pull['listeners'] = new Set();
    const cancel = new AbortController();
    const tell = (line: string): void => {
      for (const listener of listeners) listener(line);
    };
    const done = this.#download(reference, tell, cancel.signal).finally(() => {
      if (this.#pulls.get(reference) === pull) this.#pulls.delete(reference);
    });
    done.catch(() => {});
    const pull: Pull = {
      done,
      listeners,
      abandon: () => {
        if (this.#pulls.get(reference) === pull) this.#pulls.delete(reference);
        cancel.abort();
      },
    };
    this.#pulls.set(reference, pull);
    return pull;
  }

  async #download(
    reference: string,
    tell: (line: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const authconfig = await credentialsFor(reference, this.dockerConfig);
    let stream: Readable;
    try {
      stream = (await this.engine.pull(reference, {
        abortSignal: signal,
        ...(authconfig && { authconfig }),
      })) as Readable;
    } catch (cause) {
      if (statusOf(cause) === undefined) throw engineFailure(cause, `pull ${reference}`);
      throw unavailable(reference, wordsOf(cause), cause);
    }
    const progress = new PullProgress();
    let said = Date.now();
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => void stream.destroy(new Error('nobody waits for it any more'));
      signal.addEventListener('abort', stop, { once: true });
      this.engine.modem.followProgress(
        stream,
        (error: Error | null) => {
          signal.removeEventListener('abort', stop);
          // What a registry answers comes as an event; this is the engine's own end.
          if (error) reject(engineFailure(error, `pull ${reference}`));
          else resolve();
        },
        (event: PullEvent) => {
          progress.take(event);
          if (Date.now() - said < SAY_EVERY_MS) return;
          said = Date.now();
          tell(`pulling ${reference}: ${progress.text()}`);
        },
      );
    });
    tell(`pulled ${reference}`);
  }
}

function unavailable(reference: string, answer: string, cause?: unknown): FarmError {
  return new FarmError(
    'image-unavailable',
    `the image ${reference} cannot be had: ${answer}. Check the spelling; try \`docker pull ${reference}\` on the worker; ` +
      'for a private registry log in there with `docker login` as the user that runs the worker.',
    { image: reference },
    { cause },
  );
}

const REFERENCE =
  /^(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d+)?\/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/;

/**
 * The reference with its tag: asked for a bare name, the engine would pull every tag there is. Throws
 * `image-unavailable` for what is no reference.
 */
export function complete(name: string): string {
  if (name.length > 500 || !REFERENCE.test(name)) {
    throw unavailable(quoted(name, 500), 'this is no image reference');
  }
  const last = name.slice(name.lastIndexOf('/') + 1);
  return last.includes(':') || last.includes('@') ? name : `${name}:latest`;
}
