import { Injectable } from '@nestjs/common';
import { ThrottlerGuard } from '@nestjs/throttler';
import { FarmError } from '@impgem/kit';

/** Slows down who tries tokens: so many sign-ins a minute from one address (`limits.signInsPerMinute`). */
@Injectable()
export class SignInThrottle extends ThrottlerGuard {
  protected override async throwThrottlingException(): Promise<void> {
    throw new FarmError('too-many-requests', 'too many sign-ins from this address; wait a minute');
  }
}
