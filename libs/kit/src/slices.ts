/** How long a loop may keep everything else waiting, in milliseconds. */
const SLICE_MS = 5;

/** Called between small parts of long work: gives a promise to await when its slice is over. */
export type Pause = () => Promise<void> | undefined;

/**
 * For loops over data that somebody else chose the amount of: called at each turn of the loop, it gives a promise to
 * await when the loop has had its share of time, so that timers and sockets get theirs.
 *
 *     const pause = slices(() => performance.now(), () => setImmediate());
 *     for (const item of items) {
 *       await pause();
 */
export function slices(now: () => number, turn: () => Promise<unknown>): Pause {
  let until = now() + SLICE_MS;
  const pause = async (): Promise<void> => {
    await turn();
    until = now() + SLICE_MS;
  };
  return () => (now() < until ? undefined : pause());
}

/** A copy in order, made in slices; `before` tells whether an item comes before another. */
export async function sortedInSlices<Item>(
  items: readonly Item[],
  before: (a: Item, b: Item) => boolean,
  pause: Pause,
): Promise<Item[]> {
  const order = (a: Item, b: Item): number => (before(a, b) ? -1 : before(b, a) ? 1 : 0);
  let from: Item[] = [];
  for (let at = 0; at < items.length; at += RUN) {
    for (const item of items.slice(at, at + RUN).sort(order)) from.push(item);
    await pause();
  }
  for (let run = RUN; run < items.length; run *= 2) {
    const to: Item[] = [];
    for (let left = 0; left < from.length; left += 2 * run) {
      const middle = Math.min(left + run, from.length);
      const end = Math.min(middle + run, from.length);
      for (let a = left, b = middle; a < middle || b < end;) {
        const takesRight = a >= middle || (b < end && before(from[b] as Item, from[a] as Item));
        to.push(from[takesRight ? b++ : a++] as Item);
        if (to.length % RUN === 0) await pause();
      }
    }
    from = to;
  }
  return from;
}

const RUN = 256;
