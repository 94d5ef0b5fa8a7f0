/**
 * The bytes that all journals of this worker may take on disk. When they are used up, log output waits, and so
 * the steps that write it, until the master has acknowledged some; events are small and always pass.
 */
export class Budget {
  used = 0;
  private waiting: (() => void)[] = [];

  constructor(readonly limit: number) {}

  get full(): boolean {
    return this.used >= this.limit;
  }

  take(bytes: number): void {
    this.used += bytes;
  }

  give(bytes: number): void {
    this.used -= bytes;
    this.wake();
  }

  /** Settles at the next release of bytes; the caller looks again. */
  async changed(): Promise<void> {
    await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Lets all who wait look again, e.g. since their journal is gone. */
  wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
