/**
 * Many viewers of one log, in a process of their own. The first message says which and how many; it answers when
 * all have subscribed, and again with what they saw when the log has ended.
 */
import { watch, type WatchedLog, type Watching } from './watch.js';

export interface ViewersOrder {
  log: WatchedLog;
  viewers: number;
  /** Of them: they subscribe, and then read nothing. */
  stalled: number;
}

export type ViewersTell =
  | { told: 'watching' }
  | { told: 'seen'; delaysMs: number[]; lines: number[] }
  | { told: 'failed'; why: string };

/** Sockets that are opened at once. */
const OPENING = 50;

async function view({ log, viewers, stalled }: ViewersOrder): Promise<void> {
  const watching: Watching[] = [];
  while (watching.length < viewers) {
    const next = Array.from({ length: Math.min(OPENING, viewers - watching.length) }, () =>
      watch(log, false),
    );
    await Promise.all(next.map(({ subscribed }) => subscribed));
    watching.push(...next);
  }
  for (const one of watching.slice(0, stalled)) one.stall();
  tell({ told: 'watching' });
  const reading = watching.slice(stalled);
  await Promise.all(reading.map(({ ended }) => ended));
  tell({
    told: 'seen',
    delaysMs: reading.flatMap(({ reader }) => reader.delaysMs),
    lines: reading.map(({ reader }) => reader.lines),
  });
}

const tell = (message: ViewersTell) => process.send?.(message);

process.once('message', (order: ViewersOrder) => {
  view(order).catch((error: unknown) => tell({ told: 'failed', why: String(error) }));
});
// ends with whoever asked
process.once('disconnect', () => process.exit());
