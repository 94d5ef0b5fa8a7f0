import { Button, Loader } from '@mantine/core';
import { useEffect, type ReactNode } from 'react';
import { Gem } from './gem.js';
import styles from './ui.module.css';

/** One screen: its title (the tab's too), what can be done, and the content. */
export function Page({
  title,
  heading,
  actions,
  children,
  wide = false,
}: {
  title: string;
  heading?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  wide?: boolean;
}) {
  useTitle(title);
  return (
    <main className={wide ? styles.pageWide : styles.page} id="content">
      <div className={styles.pageHead}>
        <h1 className={styles.title}>{heading ?? title}</h1>
        {actions && <div className={styles.actions}>{actions}</div>}
      </div>
      {children}
    </main>
  );
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Imp Gem`;
  }, [title]);
}

/** Nothing there yet: says so, and what the next step is. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={styles.empty}>
      <Gem size={36} />
      <h2 className={styles.emptyTitle}>{title}</h2>
      {children}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div className={styles.loading} role="status">
      <Loader size="sm" /> <span className="dim">Loading {what}…</span>
    </div>
  );
}

/** The next page of a keyset list. */
export function More({
  query,
}: {
  query: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
}) {
  if (!query.hasNextPage) return null;
  return (
    <div className={styles.more}>
      <Button
        variant="default"
        size="sm"
        loading={query.isFetchingNextPage}
        onClick={() => void query.fetchNextPage()}
      >
        Show more
      </Button>
    </div>
  );
}

export function Labels({ labels }: { labels: string[] }) {
  return (
    <span className={styles.labels}>
      {labels.map((label) => (
        <span key={label} className={styles.label}>
          {label}
        </span>
      ))}
    </span>
  );
}
