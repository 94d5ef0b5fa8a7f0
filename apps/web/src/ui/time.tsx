import { useEffect, useState } from 'react';
import { formatAgo, formatDuration, spanOf } from '../lib/format.js';

/** The time, again each `everyMs` while `active`. */
function useNow(active: boolean, everyMs: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [active, everyMs]);
  return now;
}

/** How long it took, or how long it takes so far. */
export function Took({ start, finish }: { start: string | null; finish: string | null }) {
  const running = start !== null && finish === null;
  const now = useNow(running, 1000);
  const span = spanOf(start, finish, now);
  if (span === undefined) return null;
  // Whole seconds while it ticks, so that nothing but the last digit moves.
  const shown = running ? Math.floor(span / 1000) * 1000 : span;
  return (
    <span className="number nowrap">
      {running && shown < 10_000 ? `${shown / 1000} s` : formatDuration(shown)}
    </span>
  );
}

export function Ago({ at }: { at: string | null }) {
  const now = useNow(at !== null, 15_000);
  if (at === null) return <span className="dim">never</span>;
  return (
    <time className="nowrap number" dateTime={at} title={new Date(at).toLocaleString()}>
      {formatAgo(Date.parse(at), Math.max(now, Date.parse(at)))}
    </time>
  );
}
