import type { Build, Result } from '@impgem/client';
import { Button, Select } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api, pageAfter, type BuildFilter } from '../../lib/api.js';
import { keys } from '../../lib/keys.js';
import { Empty, Loading, More, Page } from '../../ui/page.js';
import { ProblemAlert } from '../../ui/problem.js';
import { standingLabel } from '../../ui/result.js';
import table from '../../ui/table.module.css';
import { BuildTable } from './build-table.js';
import styles from './builds.module.css';

const RESULTS = [
  'success',
  'warnings',
  'failure',
  'exception',
  'retry',
  'cancelled',
] as const satisfies readonly Result[];

/** What the one list of choices stands for: a state while it runs, a result afterwards. */
const CHOICES = [
  { value: 'state:running', label: standingLabel('running') },
  ...RESULTS.map((result) => ({ value: `result:${result}`, label: standingLabel(result) })),
];

function choiceOf(filter: BuildFilter): string | null {
  if (filter.result) return `result:${filter.result}`;
  return filter.state ? `state:${filter.state}` : null;
}

function withChoice(filter: BuildFilter, choice: string | null): BuildFilter {
  const [kind, value] = choice?.split(':') ?? [];
  return {
    ...(filter.builder ? { builder: filter.builder } : {}),
    ...(kind === 'state' ? { state: value as Build['state'] } : {}),
    ...(kind === 'result' ? { result: value as Result } : {}),
  };
}

export function BuildList({
  filter,
  onFilter,
}: {
  filter: BuildFilter;
  onFilter: (filter: BuildFilter) => void;
}) {
  const builders = useQuery({
    queryKey: [...keys.builders, 'names'],
    queryFn: async () =>
      (await api.builders.list({ limit: 200 })).items.map((builder) => builder.name),
  });
  const names = builders.data ?? [];
  const filtered = Object.keys(filter).length > 0;
  return (
    <Page
      title="Builds"
      actions={
        <>
          <Select
            aria-label="Builder"
            placeholder="Any builder"
            size="sm"
            clearable
            searchable
            data={
              filter.builder && !names.includes(filter.builder) ? [...names, filter.builder] : names
            }
            value={filter.builder ?? null}
            onChange={(builder) => {
              const { builder: _, ...rest } = filter;
              onFilter(builder ? { ...rest, builder } : rest);
            }}
          />
          <Select
            aria-label="Result"
            placeholder="Any result"
            size="sm"
            clearable
            data={CHOICES}
            value={choiceOf(filter)}
            onChange={(choice) => onFilter(withChoice(filter, choice))}
          />
        </>
      }
    >
      <Builds
        filter={filter}
        empty={
          filtered ? (
            <Empty title="No build matches">
              <Button variant="default" onClick={() => onFilter({})}>
                Show all builds
              </Button>
            </Empty>
          ) : (
            <Empty title="No builds yet">
              <p>Trigger a builder on the Builders page, or from a terminal:</p>
              <code>impgem trigger BUILDER --watch</code>
            </Empty>
          )
        }
      />
    </Page>
  );
}

/** Builds, newest first, page by page. */
export function Builds({ filter, empty }: { filter: BuildFilter; empty: ReactNode }) {
  const query = useInfiniteQuery({
    queryKey: keys.buildList(filter),
    queryFn: ({ pageParam }) => api.builds.list({ ...filter, ...pageAfter(pageParam) }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (query.error && !query.data)
    return <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />;
  if (query.isPending) return <Loading what="builds" />;
  const builds = query.data?.pages.flatMap((page) => page.items) ?? [];
  if (builds.length === 0) return empty;
  return (
    <div className={`${table.frame} ${styles.list}`}>
      <BuildTable builds={builds} withBuilder={filter.builder === undefined} />
      <More query={query} />
    </div>
  );
}
