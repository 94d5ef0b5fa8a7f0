import type { Assign } from '@impgem/protocol';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Budget } from './budget.js';
import { Journal } from './journal.js';

/** The folder of all journals of one worker, `<build>-<epoch>/` each, under one quota. */
export class Spool {
  readonly budget: Budget;

  constructor(
    private readonly folder: string,
    quotaBytes: number,
  ) {
    this.budget = new Budget(quotaBytes);
  }

  async create(assign: Assign, startedAt: number): Promise<Journal> {
    const folder = join(this.folder, `${assign.build}-${assign.epoch}`);
    return Journal.create(folder, { assign, startedAt }, this.budget);
  }

  /** What an earlier process left, with torn tails cut off. */
  async recover(): Promise<{ journal: Journal; cut: number }[]> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const found = [];
    for (const name of await readdir(this.folder)) {
      if (!/^\d+-\d+$/.test(name)) continue;
      const journal = await Journal.reopen(join(this.folder, name), this.budget);
      if (journal) found.push(journal);
    }
    return found;
  }
}
