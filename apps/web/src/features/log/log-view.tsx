import type { Step } from '@impgem/client';
import { Button } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import {
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import { api } from '../../lib/api.js';
import { formatBytes, formatCount } from '../../lib/format.js';
import { useLink, useLinkState } from '../../lib/live.js';
import { ProblemAlert } from '../../ui/problem.js';
import { nextFollow } from './follow.js';
import { LogLineRow } from './log-line.js';
import { LogSource } from './log-source.js';
import styles from './log.module.css';

const LINE_PX = 20;

export interface LogViewProps {
  build: number;
  step: Step;
  /** The line that the address names. */
  line: number | undefined;
  /** `#L12` of a line, for its link. */
  onLine: (line: number) => void;
}

/** The log of one step, live. Mount it anew (by key) for another step. */
export function LogView({ build, step, line, onLine }: LogViewProps) {
  const { live } = useLink();
  const source = useMemo(
    () => new LogSource(live, { build, step: step.index }),
    [live, build, step.index],
  );
  const version = useSyncExternalStore(source.subscribe, source.version);
  const [wrap, setWrap] = useState(() => globalThis.innerWidth < 700);
  const { buffer } = source;
  return (
    <section className={styles.log} aria-label={`Log of ${step.name}`}>
      <header className={styles.bar}>
        <h2 className={styles.name}>{step.name}</h2>
        <LogState step={step} complete={buffer.complete} />
        <span className={styles.amount}>
          {formatCount(buffer.dropped + buffer.count)} lines · {formatBytes(buffer.end)}
        </span>
        <Button
          size="compact-xs"
          variant="subtle"
          color="gray"
          aria-pressed={wrap}
          onClick={() => setWrap(!wrap)}
        >
          {wrap ? 'No wrap' : 'Wrap'}
        </Button>
        <Button
          component="a"
          size="compact-xs"
          variant="subtle"
          color="gray"
          href={api.address.log(build, step.index)}
          download={`build-${build}-${step.name}.log`}
        >
          Download raw
        </Button>
      </header>
      {source.error && <ProblemAlert error={source.error} />}
      <LogLines
        key={String(wrap)}
        source={source}
        version={version}
        wrap={wrap}
        line={line}
        onLine={onLine}
        running={step.state === 'running'}
        rawAddress={api.address.log(build, step.index)}
      />
    </section>
  );
}

/** Whether the log goes on, stands still for want of a connection, or is all there. */
function LogState({ step, complete }: { step: Step; complete: boolean }) {
  const link = useLinkState();
  if (complete) return <span className={styles.state}>complete</span>;
  if (link !== 'open')
    return (
      <span className={`${styles.state} ${styles.cut}`} role="status">
        {link === 'connecting' ? 'connecting…' : 'reconnecting…'}
      </span>
    );
  if (step.state === 'pending') return <span className={styles.state}>not started</span>;
  return (
    <span className={`${styles.state} ${styles.live}`}>
      {step.state === 'running' ? 'live' : 'loading…'}
    </span>
  );
}

function LogLines({
  source,
  version,
  wrap,
  line,
  onLine,
  running,
  rawAddress,
}: {
  source: LogSource;
  version: number;
  wrap: boolean;
  line: number | undefined;
  onLine: (line: number) => void;
  running: boolean;
  rawAddress: string;
}) {
  const { buffer } = source;
  const scroller = useRef<HTMLDivElement>(null);
  const lines = useVirtualizer({
    count: buffer.count,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_PX,
    overscan: 30,
  });
  const { follow, onScroll, jump } = useFollow(scroller, running && line === undefined, version);
  useLineTarget(lines, buffer.count, line === undefined ? undefined : line - buffer.dropped - 1);
  return (
    <div className={styles.frame}>
      {buffer.dropped > 0 && (
        <p className={styles.note}>
          The first {formatCount(buffer.dropped)} lines are not kept here; the raw log has them.
        </p>
      )}
      <div
        ref={scroller}
        className={`${styles.scroller} ${wrap ? styles.wrap : ''}`}
        role="log"
        aria-live="off"
        aria-label="Output"
        tabIndex={0}
        onScroll={onScroll}
      >
        <div className={styles.canvas} style={{ height: lines.getTotalSize() }}>
          {lines.getVirtualItems().map((item) => {
            const entry = buffer.line(item.index);
            const number = buffer.dropped + item.index + 1;
            return (
              entry && (
                <div
                  key={number}
                  data-index={item.index}
                  ref={wrap ? lines.measureElement : undefined}
                  className={styles.place}
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  <LogLineRow
                    number={number}
                    stream={entry.stream}
                    text={entry.text}
                    carry={entry.carry}
                    hidden={entry.hidden}
                    chosen={number === line}
                    onChoose={onLine}
                    rawAddress={rawAddress}
                  />
                </div>
              )
            );
          })}
        </div>
        {buffer.complete && buffer.count === 0 && (
          <p className={styles.nothing}>This step printed nothing.</p>
        )}
      </div>
      {!follow && buffer.count > 0 && (
        <Button className={styles.jump} size="compact-sm" onClick={jump}>
          Jump to end
        </Button>
      )}
    </div>
  );
}

/** Keeps the end in view until the reader scrolls up. */
function useFollow(
  scroller: React.RefObject<HTMLDivElement | null>,
  initially: boolean,
  version: number,
) {
  const [follow, setFollow] = useState(initially);
  const previousTop = useRef(0);
  const toEnd = useCallback(() => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, [scroller]);
  useLayoutEffect(() => {
    if (follow) toEnd();
  }, [follow, version, toEnd]);
  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    const place = {
      top: element.scrollTop,
      view: element.clientHeight,
      height: element.scrollHeight,
    };
    setFollow(nextFollow(follow, place, previousTop.current));
    previousTop.current = place.top;
  };
  const jump = () => setFollow(true);
  return { follow, onScroll, jump };
}

/** Brings the line that the address names into view, once it is there. */
function useLineTarget(
  lines: { scrollToIndex: (index: number, options: { align: 'center' }) => void },
  count: number,
  index: number | undefined,
) {
  const shown = useRef<number | undefined>(undefined);
  useEffect(() => {
    if (index === undefined || index < 0 || index >= count || shown.current === index) return;
    shown.current = index;
    lines.scrollToIndex(index, { align: 'center' });
  }, [lines, count, index]);
}
