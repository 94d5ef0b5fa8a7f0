import { Button, CopyButton } from '@mantine/core';
import styles from './ui.module.css';

/** Text to be pasted into a terminal or a file. */
export function CopyBlock({ text, label }: { text: string; label: string }) {
  return (
    <div className={styles.copyBlock}>
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Button
            className={styles.copyButton}
            size="compact-xs"
            variant="default"
            onClick={copy}
            aria-label={`Copy ${label}`}
          >
            {copied ? 'Copied' : 'Copy'}
          </Button>
        )}
      </CopyButton>
    </div>
  );
}
