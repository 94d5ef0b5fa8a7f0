import { Injectable } from '@nestjs/common';
import { SharedTurns } from '@impgem/kit';
import { Database, isOutage } from '../platform/index.js';
import { Queue, type Submission, type Submitted } from './queue.js';

/** Wishes of one commit. */
const MOST = 200;

/** Where wishes come in: those that come while one commit runs share the next. */
@Injectable()
export class Intake {
  readonly #commits: SharedTurns<Submission, Submitted | undefined>;

  constructor(db: Database, queue: Queue) {
    this.#commits = new SharedTurns(
      MOST,
      (submissions) => queue.submit(db, submissions),
      // One that cannot be stored must not spoil the others'.
      (error) => !isOutage(error),
    );
  }

  /** Settles when the request is committed; with undefined when its builder has changed (see `Queue.submit`). */
  submit(submission: Submission): Promise<Submitted | undefined> {
    return this.#commits.ask(submission);
  }
}
