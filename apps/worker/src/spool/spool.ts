import type { Assign } from '@impgem/protocol';
import { readFileSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Budget } from './budget.js';
import { Journal } from './journal.js';

/** The folder of all journals of one worker, `<build>-<epoch>/` each, under one quota. */
export class Spool {
  constructor(
    private readonly folder: string,
    readonly budget: Budget,
    private readonly boot = bootId(),
  ) {}

  async create(assign: Assign, slot: number, startedAt: number): Promise<Journal> {
    const folder = join(this.folder, `${assign.build}-${assign.epoch}`);
    const meta = { assign, slot, startedAt, ...(this.boot ? { boot: this.boot } : {}) };
    return Journal.create(folder, meta, this.budget);
  }

  /**
   * What an earlier process left, with torn tails cut off. A journal without its end from before a restart of the
   * machine is removed: its steps are gone, and it may have lost records that the master has, so that
   * whatever was appended would get their numbers. The next hello is without it, which ends the attempt.
   */
  async recover(): Promise<{ journal: Journal; cut: number }[]> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const found = [];
    for (const name of await readdir(this.folder)) {
      if (!/^\d+-\d+$/.test(name)) continue;
      const one = await Journal.reopen(join(this.folder, name), this.budget);
      if (!one) continue;
      const { meta, progress } = one.journal;
      if (progress.finished || (meta.boot ?? '') === this.boot) found.push(one);
      else await one.journal.destroy();
    }
    return found;
  }
}

/** Made new by the kernel at each start of the machine; empty where there is none. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
