import { PROBLEM_CODES, ProblemError, UnreachableError, type ProblemCode } from '@impgem/client';
import { Alert, Button } from '@mantine/core';
import styles from './ui.module.css';

/** What to do about it, when the problem itself cannot say. */
const MENDS: Partial<Record<ProblemCode, string>> = {
  unauthenticated: 'Sign in again with an API token.',
  'token-expired': 'An admin makes a new one with: impgem token create',
  'token-revoked': 'An admin makes a new one with: impgem token create',
  forbidden: 'Sign in with a token that has the scope.',
  csrf: 'Load the page again.',
  origin: 'Open the page under the address that the master is configured for (IMPGEM_PUBLIC_URL).',
  'database-unavailable': 'Nothing is lost; running builds go on. Try again in a moment.',
  internal: "The master's log has the details.",
};

/** Any error as the master words it: what, where, how to mend it. */
export function ProblemAlert({
  error,
  onRetry,
}: {
  error: unknown;
  onRetry?: (() => void) | undefined;
}) {
  const { title, detail, mend, places } = textOf(error);
  return (
    <Alert
      color="red"
      variant="light"
      title={title}
      role="alert"
      classNames={{ root: styles.alert ?? '' }}
    >
      {detail && <p>{detail}</p>}
      {places.length > 0 && (
        <ul className={styles.places}>
          {places.map(({ path, message, line }) => (
            <li key={`${path}:${message}`}>
              {path && <code>{path}</code>} {line === undefined ? '' : `line ${line}: `}
              {message}
            </li>
          ))}
        </ul>
      )}
      {mend && <p className={styles.mend}>{mend}</p>}
      {onRetry && (
        <Button size="compact-sm" variant="default" mt={8} onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

function textOf(error: unknown) {
  if (error instanceof ProblemError) {
    const { title } = PROBLEM_CODES[error.code];
    return {
      title,
      detail: error.detail === title ? '' : error.detail,
      mend: MENDS[error.code],
      places: error.problems,
    };
  }
  if (error instanceof UnreachableError)
    return {
      title: 'The master does not answer',
      detail: 'Check that it runs and that this machine can reach it.',
      mend: undefined,
      places: [],
    };
  return {
    title: 'Something in the page went wrong',
    detail: error instanceof Error ? error.message : String(error),
    mend: 'Load the page again.',
    places: [],
  };
}
