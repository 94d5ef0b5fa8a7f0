import { Button } from '@mantine/core';
import { useRef, useState } from 'react';
import { copyText } from './copy-text.js';
import styles from './ui.module.css';

const LABELS = { idle: 'Copy', copied: 'Copied', failed: 'Selected: press Ctrl+C' } as const;

/** Copies what `of` holds; says whether that worked. */
function CopyButton({
  text,
  of,
  label,
  className,
}: {
  text: string;
  of: React.RefObject<HTMLElement | null>;
  label: string;
  className?: string | undefined;
}) {
  const [state, setState] = useState<keyof typeof LABELS>('idle');
  const copy = async () => {
    if (!of.current) return;
    setState((await copyText(text, of.current)) ? 'copied' : 'failed');
    setTimeout(() => setState('idle'), 2_000);
  };
  return (
    <Button
      className={className ?? ''}
      size="compact-xs"
      variant="default"
      onClick={() => void copy()}
      aria-label={state === 'idle' ? `Copy ${label}` : LABELS[state]}
    >
      {LABELS[state]}
    </Button>
  );
}

/** Text to be pasted into a terminal or a file. */
export function CopyBlock({ text, label }: { text: string; label: string }) {
  const block = useRef<HTMLPreElement>(null);
  return (
    <div className={styles.copyBlock}>
      <pre ref={block} tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
      <CopyButton className={styles.copyButton} of={block} text={text} label={label} />
    </div>
  );
}

/** A value in one line, such as a digest. */
export function CopyValue({ value, label }: { value: string; label: string }) {
  const code = useRef<HTMLElement>(null);
  return (
    <span className={styles.copyValue}>
      <code ref={code}>{value}</code>
      <CopyButton of={code} text={value} label={label} />
    </span>
  );
}
