import type { StreamName } from '@impgem/client';
import { memo } from 'react';
import { formatCount } from '../../lib/format.js';
import { ansiSegments } from './ansi.js';
import './ansi.css';
import styles from './log.module.css';

/** One line: its number (a link to it), a mark for its stream, its text in the colours it asks for. */
export const LogLineRow = memo(function LogLineRow({
  number,
  stream,
  text,
  carry,
  hidden,
  chosen,
  onChoose,
  rawAddress,
}: {
  number: number;
  stream: StreamName;
  text: string;
  carry: string;
  hidden: number;
  chosen: boolean;
  onChoose: (line: number) => void;
  rawAddress: string;
}) {
  return (
    <div className={`${styles.line} ${styles[stream]} ${chosen ? styles.chosen : ''}`}>
      <a
        className={styles.number}
        href={`#L${number}`}
        aria-label={`Line ${number}`}
        onClick={(event) => {
          event.preventDefault();
          onChoose(number);
        }}
      >
        {number}
      </a>
      <span className={styles.text}>
        {hidden > 0 && (
          <span className={styles.cutNote}>
            Long line: {formatCount(hidden)} more characters are not shown,{' '}
            <a href={rawAddress} download>
              download the raw log
            </a>
          </span>
        )}
        {ansiSegments(text, carry).map((segment, index) =>
          segment.href ? (
            <a key={index} href={segment.href} target="_blank" rel="noopener noreferrer">
              {segment.text}
            </a>
          ) : segment.className || segment.style.color || segment.style.backgroundColor ? (
            <span key={index} className={segment.className} style={segment.style}>
              {segment.text}
            </span>
          ) : (
            segment.text
          ),
        )}
      </span>
    </div>
  );
});
