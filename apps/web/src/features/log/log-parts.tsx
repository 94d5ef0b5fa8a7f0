import type { LogLines } from '@impgem/client';
import { Button, TextInput } from '@mantine/core';
import { formatCount } from '../../lib/format.js';
import { lineOfHash } from './follow.js';
import type { LogSource } from './log-source.js';
import styles from './log.module.css';

interface LogPartsProps {
  source: LogSource;
  part: LogLines;
  onLine: (line: number) => void;
}

/** Which part of a long log is shown, and the way to others. */
export function LogParts({ source, part, onLine }: LogPartsProps) {
  const first = source.buffer.dropped + 1;
  const last = Math.max(first, source.buffer.dropped + source.count);
  const goTo = (form: FormData) => {
    const line = lineOfHash(`L${String(form.get('line')).replaceAll(/\D/g, '')}`);
    if (line !== undefined) onLine(Math.min(line, Math.max(part.total, last)));
  };
  return (
    <nav className={styles.parts} aria-label="Parts of the log">
      <span>
        Lines {formatCount(first)} to {formatCount(last)}
        {source.isAtEnd ? '' : ` of ${formatCount(part.total)}`}
      </span>
      <Button
        size="compact-xs"
        variant="default"
        disabled={first === 1}
        onClick={() => source.show(first - 1)}
      >
        Earlier
      </Button>
      <Button
        size="compact-xs"
        variant="default"
        disabled={source.isAtEnd}
        onClick={() => source.show(last + 1)}
      >
        Later
      </Button>
      <form action={goTo}>
        <TextInput
          size="xs"
          name="line"
          inputMode="numeric"
          aria-label="Go to line"
          placeholder="Go to line"
        />
      </form>
    </nav>
  );
}
