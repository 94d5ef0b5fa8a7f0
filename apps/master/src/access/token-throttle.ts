import { Injectable } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { addressBlock, MasterConfig } from '../platform/index.js';
import { tokenId } from './secrets.js';
import { WindowCounter } from './window-counter.js';

/**
 * Tells those who try tokens to wait: so many that are wrong in a minute, from one address (one network of 64 bits, for
 * IPv6) or for one token's id. A right token is let in all the same: whoever shares an address with them, behind a
 * proxy for example, notices nothing.
 */
@Injectable()
export class TokenThrottle {
  readonly #signIns = new WindowCounter();
  readonly #knocks = new WindowCounter();
  readonly #successes = new WindowCounter();

  constructor(private readonly config: MasterConfig) {}

  /** At the page's door. Rejects as `signIn` does, or with `too-many-requests` in place of `unauthenticated`. */
  async signIn<T>(address: string, token: string, signIn: () => Promise<T>): Promise<T> {
    const { signInFailuresPerMinute, signInsPerMinute } = this.config.limits;
    const result = await attempt(this.#signIns, signInFailuresPerMinute, address, token, signIn);
    const key = tokenId(token) ?? '';
    // Each is a row of the audit, which is kept.
    if (this.#successes.add(key) > signInsPerMinute)
      throw new FarmError('too-many-requests', 'too many sign-ins with this token', {
        retryAfterS: this.#successes.secondsLeft(key),
        limit: 'signInsPerMinute',
      });
    return result;
  }

  /** At every other door. Who shows no token at all is not counted. */
  knock<T>(address: string, token: string | undefined, enter: () => Promise<T>): Promise<T> {
    if (token === undefined) return enter();
    return attempt(this.#knocks, this.config.limits.tokenFailuresPerMinute, address, token, enter);
  }
}

async function attempt<T>(
  counter: WindowCounter,
  most: number,
  address: string,
  token: string,
  enter: () => Promise<T>,
): Promise<T> {
  const id = tokenId(token);
  const keys = [addressBlock(address), ...(id === undefined ? [] : [`token ${id}`])];
  // Counted before: those that come at once are not all let by.
  const over = keys.map((key) => counter.add(key) > most);
  try {
    const result = await enter();
    for (const key of keys) counter.remove(key);
    return result;
  } catch (error) {
    const isWrong = error instanceof FarmError && error.code === 'unauthenticated';
    if (!isWrong) for (const key of keys) counter.remove(key);
    const key = keys.find((_, index) => over[index]);
    if (!isWrong || key === undefined) throw error;
    const retryAfterS = counter.secondsLeft(key);
    throw new FarmError(
      'too-many-requests',
      `too many wrong tokens from ${address}; wait ${retryAfterS} s`,
      { retryAfterS, limit: 'tokenFailuresPerMinute' },
      { cause: error },
    );
  }
}
