import type { Result } from '@impgem/pipeline';
import { FarmError } from '@impgem/kit';
import { PACKED_BYTES } from '@impgem/protocol';
import type { Attempt, Workspace, WorkspaceFile } from '../executor/executor.js';
import { selectArtifacts } from '../workspace/index.js';
import type { StepLog } from './step-log.js';
import { endingOf, failedEnding, type Ending } from './stop.js';
import { packsOf } from './packs.js';
import type { ArtifactFile, Uploads } from './uploads.js';

/** Files of one build under way at once: enough to hide the round trips of small ones. */
const AT_ONCE = 4;
/** Artifacts are numbered with 16 bits. */
const MOST_FILES = 65_536;
/** Small files from so many on are sent in packs. */
const WORTH_PACKING = 16;
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
  const numbered = files.map((file, number) => ({ ...file, number }));
  const small = numbered.filter(({ size }) => size <= PACKED_BYTES);
  const packed = small.length >= WORTH_PACKING ? small : [];
  const refused: string[] = [];
  const failed = (path: string, error: unknown): void => {
    signal.throwIfAborted();
    const { reason } = failedEnding(error);
    if (reason?.code !== 'artifact-refused') throw error;
    refused.push(`${JSON.stringify(path)}: ${reason.message}`);
  };
  const send = async (number: number, file: ArtifactFile): Promise<void> => {
    signal.throwIfAborted();
    try {
      await uploads.send(attempt, number, file, signal);
      log.say(`${file.path}  ${file.size} bytes`);
    } catch (error) {
      failed(file.path, error);
    }
  };
  const packs = packsOf(packed, workspace.readMany(packed), failed);
  const packLane = async (): Promise<void> => {
    for (let next = await packs.next(); !next.done; next = await packs.next()) {
      const { whole, each } = next.value;
      const { files: together, size, path } = whole;
      signal.throwIfAborted();
      try {
        await uploads.send(attempt, together[0]?.artifact ?? 0, whole, signal);
        log.say(`${path} and ${together.length - 1} more small files  ${size} bytes`);
      } catch (error) {
        signal.throwIfAborted();
        if (failedEnding(error).reason?.code !== 'artifact-refused') throw error;
        // Because of one of them: the others are taken.
        for (const { number, file } of each()) await send(number, file);
      }
    }
  };
  const inPacks = new Set(packed.map(({ number }) => number));
  const queue = numbered.filter(({ number }) => !inPacks.has(number)).values();
  const lane = async (): Promise<void> => {
    for (const { number, path, size, mode } of queue)
      await send(number, { path, size, mode: mode & 0o7777, open: () => workspace.read(path) });
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, packLane));
  } finally {
    // Closes the stream that it reads from.
    await packs.return(undefined);
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return refused;
}

function few(list: readonly string[]): string {
  const rest = list.length - NAMED;
  return list.slice(0, NAMED).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}
