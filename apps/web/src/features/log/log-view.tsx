import type { Step } from '@impgem/client';
import { Button } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { api } from '../../lib/api.js';
import { formatBytes, formatCount } from '../../lib/format.js';
import { useLink, useLinkState } from '../../lib/live.js';
import { ProblemAlert } from '../../ui/problem.js';
import { nextFollow } from './follow.js';
import { LogLineRow } from './log-line.js';
import { LogParts } from './log-parts.js';
import { LogSource, type LogSourceOptions } from './log-source.js';
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
  // How it is opened; what it grows by later is the source's business.
  const [opened] = useState({ bytes: step.log.bytes, line });
  const source = useMemo(() => {
    const locate: LogSourceOptions['locate'] = (query) =>
      api.builds.logLines(build, step.index, query);
    return new LogSource({ live, build, step: step.index, locate, ...opened });
  }, [live, build, step.index, opened]);
  const version = useSyncExternalStore(source.subscribe, source.version);
  useEffect(() => {
    if (line !== undefined) source.show(line);
  }, [source, line]);
  const [wrap, setWrap] = useState(() => globalThis.innerWidth < 700);
  const { buffer } = source;
  return (
    <section className={styles.log} aria-label={`Log of ${step.name}`}>
      <header className={styles.bar}>
        <h2 className={styles.name}>{step.name}</h2>
        <LogState step={step} complete={source.isRead} />
        <span className={styles.amount}>
          {formatCount(Math.max(source.part?.total ?? 0, buffer.dropped + buffer.count))} lines ·{' '}
          {formatBytes(source.part ? Math.max(step.log.bytes, buffer.end) : buffer.end)}
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
      {source.part ? (
        <LogParts source={source} part={source.part} onLine={onLine} />
      ) : (
        buffer.dropped > 0 && (
          <p className={styles.note}>
            The first {formatCount(buffer.dropped)} lines are not kept here; the raw log has them.
          </p>
        )
      )}
      <LogLines
        key={`${wrap} ${source.part?.first} ${source.part?.last}`}
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

interface LogLinesProps {
  source: LogSource;
  version: number;
  wrap: boolean;
  line: number | undefined;
  onLine: (line: number) => void;
  running: boolean;
  rawAddress: string;
}

function LogLines({ source, wrap, line, onLine, running, rawAddress }: LogLinesProps) {
  const { buffer, part, target, count } = source;
  // A part is opened at its end, or at the line that it was chosen for.
  const atEnd = part ? target === undefined : running && line === undefined;
  const { scroller, follow, onScroll, jump } = useFollow(atEnd);
  // It returns functions that change behind React's back, which the compiler must not memoize; we do not use it.
  // oxlint-disable-next-line react/incompatible-library
  const lines = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_PX,
    overscan: 30,
  });
  const wanted = part ? target : line;
  useLineTarget(lines, count, wanted === undefined ? undefined : wanted - buffer.dropped - 1);
  const row = (index: number) => {
    const entry = buffer.line(index);
    const number = buffer.dropped + index + 1;
    return (
      entry && (
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
      )
    );
  };
  return (
    <div className={styles.frame}>
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
          {lines.getVirtualItems().map((item) => (
            <div
              key={buffer.dropped + item.index}
              data-index={item.index}
              ref={wrap ? lines.measureElement : undefined}
              className={styles.place}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              {row(item.index)}
            </div>
          ))}
        </div>
        {buffer.complete && buffer.count === 0 && (
          <p className={styles.nothing}>This step printed nothing.</p>
        )}
      </div>
      {(!follow || !source.isAtEnd) && count > 0 && (
        <Button
          className={styles.jump}
          size="compact-sm"
          onClick={() => (source.isAtEnd ? jump() : source.show())}
        >
          Jump to end
        </Button>
      )}
    </div>
  );
}

/** Keeps the end of what it scrolls in view until the reader scrolls up. */
function useFollow(initially: boolean) {
  const scroller = useRef<HTMLDivElement>(null);
  const [follow, setFollow] = useState(initially);
  // Read by the effect: a scroll counts at once, also when lines come in before the state does.
  const following = useRef(initially);
  const previousTop = useRef(0);
  useLayoutEffect(() => {
    const element = scroller.current;
    if (element && following.current) element.scrollTop = element.scrollHeight;
  });
  const turn = (on: boolean) => {
    following.current = on;
    setFollow(on);
  };
  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    const { scrollTop: top, clientHeight: view, scrollHeight: height } = element;
    turn(nextFollow(following.current, { top, view, height }, previousTop.current));
    previousTop.current = top;
  };
  return { scroller, follow, onScroll, jump: () => turn(true) };
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
