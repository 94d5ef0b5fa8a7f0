/** How long output waits for room that does not come. */
const PATIENCE_MS = 10_000;

/**
 * The bytes that all journals of this worker may take on disk. When they are used up, output waits, and so the
 * steps that write it: as long as the master takes records, room comes. When none has come for a while, the room
 * is `exhausted`: output is left out, with a mark in the log, until the master has acknowledged some; builds go
 * on. Events and the farm's own words are small and always pass.
 */
export class Budget {
  used = 0;
  /** When it became full, or room came last. */
  private since = 0;
  private waiting: (() => void)[] = [];

  constructor(
    readonly limit: number,
    private readonly patienceMs = PATIENCE_MS,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get full(): boolean {
    return this.used >= this.limit;
  }

  /** Full, and it has been so for long. */
  get exhausted(): boolean {
    return this.full && this.patience <= 0;
  }

  take(bytes: number): void {
    if (!this.full) this.since = this.now();
    this.used += bytes;
  }

  give(bytes: number): void {
    this.used -= bytes;
    this.since = this.now();
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Settles when there is room, or when it is no use to wait any longer. */
  async room(): Promise<void> {
    while (this.full && !this.exhausted) await this.changed();
  }

  private get patience(): number {
    return this.since + this.patienceMs - this.now();
  }

  private async changed(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.ceil(this.patience));
      this.waiting.push(resolve);
    });
    clearTimeout(timer);
  }
}
