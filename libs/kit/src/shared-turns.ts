import { deferred, type Deferred } from './deferred.js';

interface Waiting<Wish, Answer> {
  wish: Wish;
  answer: Deferred<Answer>;
}

/**
 * Work on many wishes at once: those that come while one turn runs share the next, so that the number of turns follows
 * the work and not the number of who asks. A wish that comes alone does not wait.
 */
export class SharedTurns<Wish, Answer> {
  #waiting: Waiting<Wish, Answer>[] = [];
  #working = false;

  /**
   * `work` gives an answer for each of at most `most` wishes, in their order. When it fails with an error that one of
   * them may have spoiled for the others, each has a turn alone; else all of them fail with it.
   */
  constructor(
    private readonly most: number,
    private readonly work: (wishes: readonly Wish[]) => Promise<readonly Answer[]>,
    private readonly isSpoiled: (error: unknown) => boolean = () => false,
  ) {}

  ask(wish: Wish): Promise<Answer> {
    const answer = deferred<Answer>();
    this.#waiting.push({ wish, answer });
    // It gives what fails to who asked; that it fails itself is a bug, and whoever asks next begins anew.
    if (!this.#working) this.#takeTurns().catch(() => (this.#working = false));
    return answer.promise;
  }

  async #takeTurns(): Promise<void> {
    this.#working = true;
    while (this.#waiting.length > 0) await this.#turn(this.#waiting.splice(0, this.most));
    this.#working = false;
  }

  async #turn(batch: readonly Waiting<Wish, Answer>[]): Promise<void> {
    try {
      const answers = await this.work(batch.map(({ wish }) => wish));
      for (const [n, { answer }] of batch.entries()) answer.resolve(answers[n] as Answer);
    } catch (error) {
      if (batch.length > 1 && this.isSpoiled(error))
        for (const one of batch) await this.#turn([one]);
      else for (const { answer } of batch) answer.reject(error);
    }
  }
}
