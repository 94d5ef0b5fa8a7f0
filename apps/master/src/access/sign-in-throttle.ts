import { Injectable } from '@nestjs/common';
import { FarmError } from '@impgem/kit';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { MasterConfig } from '../platform/index.js';

/**
 * Slows down who tries tokens: so many failures a minute from one address (`limits.signInFailuresPerMinute`),
 * then nothing more until the minute is over. Each master counts for itself.
 */
@Injectable()
export class SignInThrottle {
  readonly #limiter: RateLimiterMemory;
  readonly #most: number;

  constructor({ limits }: MasterConfig) {
    this.#most = limits.signInFailuresPerMinute;
    this.#limiter = new RateLimiterMemory({ points: this.#most, duration: 60 });
  }

  /** Rejects with `too-many-requests` without a try, or as `signIn` does. */
  async attempt<T>(address: string, signIn: () => Promise<T>): Promise<T> {
    const before = await this.#limiter.get(address);
    if (before && before.consumedPoints >= this.#most)
      throw new FarmError(
        'too-many-requests',
        `too many failed sign-ins from ${address}; wait ${Math.ceil(before.msBeforeNext / 1000)} s`,
      );
    try {
      return await signIn();
    } catch (error) {
      if (error instanceof FarmError && error.code !== 'database-unavailable')
        await this.#limiter.penalty(address);
      throw error;
    }
  }
}
