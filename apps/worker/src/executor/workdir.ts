import { FarmError } from '@impgem/kit';

/** What both executors say of a workdir that is something else. */
export function noFolder(workdir = '.'): FarmError {
  const where = JSON.stringify(workdir);
  return new FarmError(
    'workspace-error',
    `the workdir ${where} is no folder: a file has that name`,
  );
}
