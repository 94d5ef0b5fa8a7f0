/** What is open now is ended when the bench is stopped, too, so that no farm, peer or container is left. */
const open = new Set<() => Promise<unknown>>();
let isStopping = false;

/** Runs `use`, and `end` in any case. */
export async function withEnd<T>(end: () => Promise<unknown>, use: () => Promise<T>): Promise<T> {
  open.add(end);
  try {
    return await use();
  } finally {
    // What fails for being ended shall not begin anything new.
    if (isStopping) await new Promise(() => undefined);
    open.delete(end);
    await end();
  }
}

/** From here on a signal ends what is open, the last first, and then the process. */
export function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => void stop());
}

async function stop(): Promise<void> {
  if (isStopping) return;
  isStopping = true;
  console.error('stopping …');
  for (const end of [...open].toReversed())
    await end().catch((error: unknown) => console.error(error));
  process.exit(130);
}
