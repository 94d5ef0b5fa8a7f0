import type { Result } from '@impgem/pipeline';
import { FarmError } from '@impgem/kit';
import type { Attempt, Workspace, WorkspaceFile } from '../executor/executor.js';
import { selectArtifacts } from '../workspace/index.js';
import type { StepLog } from './step-log.js';
import { endingOf, failedEnding, type Ending } from './stop.js';
import type { Uploads } from './uploads.js';

/** Files of one build under way at once: enough to hide the round trips of small ones. */
const AT_ONCE = 4;
/** Artifacts are numbered with 16 bits. */
const MOST_FILES = 65_536;
/** Names in a message, at most; the rest is counted. */
const NAMED = 5;

export interface ArtifactsOrder {
  attempt: Attempt;
  workspace: Workspace;
  globs: readonly string[];
  /** What the steps before came to: after a failure, a pattern that matches nothing is no failure of its own. */
  before: Result;
  uploads: Uploads;
  log: StepLog;
  signal: AbortSignal;
}

/** Collects the files that the patterns name and sends them. Whatever can be taken is, before a failure is told. */
export async function collectArtifacts(order: ArtifactsOrder): Promise<Ending> {
  const { workspace, globs, log, before } = order;
  const { files, unmatched, refused } = await selectArtifacts(workspace.files(), globs);
  const problems = refused.map(({ path, reason }) => `${JSON.stringify(path)}: ${reason}`);
  if (files.length > MOST_FILES)
    throw new FarmError(
      'artifact-refused',
      `the patterns match ${files.length} files, ${MOST_FILES} are allowed; pack them into one`,
    );
  problems.push(...(await sendAll(order, files)));
  if (problems.length > 0)
    return endingOf({ code: 'artifact-refused', message: `refused: ${few(problems)}` });
  if (unmatched.length === 0) return { result: 'success' };
  const missing = `no file matches ${few(unmatched.map((glob) => JSON.stringify(glob)))}`;
  if (before === 'success' || before === 'warnings' || before === 'skipped')
    return endingOf({ code: 'artifact-missing', message: missing });
  log.say(`${missing}, after a step that failed`);
  return { result: files.length > 0 ? 'success' : 'skipped' };
}

/** Sends the files, several at once; gives what was refused. Rejects when the step is stopped. */
async function sendAll(order: ArtifactsOrder, files: readonly WorkspaceFile[]): Promise<string[]> {
  const { attempt, workspace, uploads, log, signal } = order;
  const refused: string[] = [];
  const queue = files.entries();
  const lane = async (): Promise<void> => {
    for (const [number, { path, size, mode }] of queue) {
      signal.throwIfAborted();
      const file = { path, size, mode: mode & 0o7777, open: () => workspace.read(path) };
      try {
        await uploads.send(attempt, number, file, signal);
        log.say(`${path}  ${size} bytes`);
      } catch (error) {
        signal.throwIfAborted();
        const { reason } = failedEnding(error);
        if (reason?.code !== 'artifact-refused') throw error;
        refused.push(`${JSON.stringify(path)}: ${reason.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return refused;
}

function few(list: readonly string[]): string {
  const rest = list.length - NAMED;
  return list.slice(0, NAMED).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}
