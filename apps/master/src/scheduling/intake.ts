import { Injectable } from '@nestjs/common';
import { deferred, type Deferred } from '@impgem/kit';
import { Database, isOutage } from '../platform/index.js';
import { Queue, type Submission, type Submitted } from './queue.js';

/** Wishes of one commit. */
const MOST = 200;

interface Waiting {
  submission: Submission;
  answer: Deferred<Submitted | undefined>;
}

/**
 * Where wishes come in: those that come while one commit runs share the next, so that the number of commits follows
 * the database and not the number of who asks. One that comes alone does not wait.
 */
@Injectable()
export class Intake {
  #waiting: Waiting[] = [];
  #working = false;

  constructor(
    private readonly db: Database,
    private readonly queue: Queue,
  ) {}

  /** Settles when the request is committed; with undefined when its builder has changed (see `Queue.submit`). */
  submit(submission: Submission): Promise<Submitted | undefined> {
    const answer = deferred<Submitted | undefined>();
    this.#waiting.push({ submission, answer });
    if (!this.#working) void this.#work();
    return answer.promise;
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#waiting.length > 0) await this.#commit(this.#waiting.splice(0, MOST));
    this.#working = false;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    try {
      const submissions = batch.map(({ submission }) => submission);
      const submitted = await this.queue.submit(this.db, submissions);
      for (const [n, { answer }] of batch.entries()) answer.resolve(submitted[n]);
    } catch (error) {
      // One that cannot be stored must not spoil the others'.
      if (batch.length > 1 && !isOutage(error)) for (const one of batch) await this.#commit([one]);
      else for (const { answer } of batch) answer.reject(error);
    }
  }
}
