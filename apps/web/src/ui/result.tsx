import type { Result } from '@impgem/client';
import styles from './result.module.css';

/** How something stands: its result once it has one, else what it does. */
export type Standing = Result | 'running' | 'cancelling' | 'pending';

const LABELS: Record<Standing, string> = {
  success: 'Success',
  warnings: 'Warnings',
  failure: 'Failed',
  exception: 'Exception',
  retry: 'Retried',
  cancelled: 'Cancelled',
  skipped: 'Skipped',
  running: 'Running',
  cancelling: 'Cancelling',
  pending: 'Pending',
};

export function standingOf(item: {
  state: 'pending' | 'claimed' | 'running' | 'cancelling' | 'finished';
  result: Result | null;
}): Standing {
  if (item.state === 'claimed') return 'running';
  if (item.state !== 'finished') return item.state;
  return item.result ?? 'exception';
}

export const standingLabel = (standing: Standing): string => LABELS[standing];

/** A shape of its own for each standing, so that colour is never alone. */
const SHAPES: Record<Standing, string> = {
  success: 'M4.500 8.300l2.400 2.400 4.700-5.200',
  warnings: 'M8 4.300v4.400M8 11.200v.2',
  failure: 'M5.200 5.200l5.600 5.600M10.800 5.200l-5.600 5.600',
  exception: 'M8 4.300v4.400M8 11.200v.2',
  retry: 'M10.800 6.200A3.300 3.300 0 1 0 11.300 8.600M11 4v2.400H8.600',
  cancelled: 'M4.300 11.700l7.400-7.400',
  skipped: 'M5 8h6',
  running: '',
  cancelling: '',
  pending: '',
};

export function StandingIcon({ standing, size = 16 }: { standing: Standing; size?: number }) {
  const spins = standing === 'running' || standing === 'cancelling';
  const angular = standing === 'exception';
  return (
    <svg
      className={`${styles.icon} ${styles[standing] ?? ''}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      role="img"
      aria-label={LABELS[standing]}
    >
      {spins ? (
        <>
          <circle cx="8" cy="8" r="6.250" className={styles.track} />
          <path d="M8 1.750A6.250 6.250 0 0 1 14.250 8" className={styles.spin} />
        </>
      ) : angular ? (
        <path d="M8 1.200L15 14H1z" className={styles.fill} />
      ) : (
        <circle
          cx="8"
          cy="8"
          r="6.750"
          className={
            standing === 'pending' || standing === 'skipped' || standing === 'cancelled'
              ? styles.ring
              : styles.fill
          }
        />
      )}
      {SHAPES[standing] && (
        <path
          d={SHAPES[standing]}
          transform={angular ? 'translate(0 1.200)' : undefined}
          className={
            standing === 'skipped' || standing === 'cancelled' ? styles.stroke : styles.sign
          }
        />
      )}
    </svg>
  );
}

/** Icon and word. */
export function StandingMark({ standing }: { standing: Standing }) {
  return (
    <span className={`${styles.mark} ${styles[standing] ?? ''}`}>
      <span aria-hidden="true" className={styles.holder}>
        <StandingIcon standing={standing} />
      </span>
      {LABELS[standing]}
    </span>
  );
}
