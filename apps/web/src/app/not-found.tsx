import { Button } from '@mantine/core';
import { Link, type ErrorComponentProps } from '@tanstack/react-router';
import { Empty, Page } from '../ui/page.js';
import { ProblemAlert } from '../ui/problem.js';

export function NotFound() {
  return (
    <Page title="Not found">
      <Empty title="There is no such page">
        <Button component={Link} to="/builders" variant="default">
          Go to Builders
        </Button>
      </Empty>
    </Page>
  );
}

export function Crash({ error }: ErrorComponentProps) {
  return (
    <Page title="Error">
      <ProblemAlert error={error} onRetry={() => globalThis.location.reload()} />
    </Page>
  );
}
