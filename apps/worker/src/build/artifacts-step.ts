import type { Result } from '@impgem/pipeline';
import { FarmError, quotedPath } from '@impgem/kit';
import { PACKED_BYTES } from '@impgem/protocol';
import type { Attempt, Workspace, WorkspaceFile } from '../executor/executor.js';
import { selectArtifacts, type ArtifactSelection } from '../workspace/index.js';
import type { StepLog } from './step-log.js';
import { endingOf, failedEnding, type Ending } from './stop.js';
import { packsOf } from './packs.js';
import { MasterRefusal, type ArtifactFile, type Uploads } from './uploads.js';

/** Files of one build under way at once: enough to hide the round trips of small ones. */
const AT_ONCE = 4;
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

/**
 * Collects the files that the patterns name and sends them. Whatever can be taken is, before a failure is told. What a
 * wildcard met and no artifact can be made of is told in the log and changes no result; what a pattern names by its
 * whole path, and what the master refuses, fails the step.
 */
export async function collectArtifacts(order: ArtifactsOrder): Promise<Ending> {
  const { workspace, globs, log, before, signal } = order;
  const selection = await selectArtifacts(workspace.files(), globs, signal);
  const { files, unmatched, refused, leftOut } = selection;
  const problems = refused.map(({ path, reason }) => `${quotedPath(path)}: ${reason}`);
  const tooMuch = await excess(order, files);
  if (tooMuch === undefined) problems.push(...(await sendAll(order, selection)));
  else problems.push(tooMuch);
  for (const line of leftOut.lines()) log.say(line);
  if (problems.length > 0)
    return endingOf({ code: 'artifact-refused', message: `refused: ${few(problems)}` });
  if (unmatched.length === 0) return { result: 'success' };
  const missing = `no file ${leftOut.count > 0 ? 'that can be taken ' : ''}matches ${few(unmatched.map(quotedPath))}`;
  if (before === 'success' || before === 'warnings' || before === 'skipped')
    return endingOf({ code: 'artifact-missing', message: missing });
  log.say(`${missing}, after a step that failed`);
  return { result: files.length > 0 ? 'success' : 'skipped' };
}

/**
 * Why nothing is sent: all together are more than the master takes of a build. Files may be sparse, and cost their
 * size only once they are sent.
 */
async function excess(
  { uploads, signal }: ArtifactsOrder,
  files: readonly WorkspaceFile[],
): Promise<string | undefined> {
  if (files.length === 0) return undefined;
  const { buildArtifactBytes: most } = await uploads.limits(signal);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  if (most === undefined || total <= most) return undefined;
  return `the ${files.length} files have ${total} bytes together; the farm takes ${most} of one build`;
}

/** Sends the files, several at once; gives what fails the step. Rejects when the step is stopped. */
async function sendAll(
  order: ArtifactsOrder,
  { files, literal, leftOut }: ArtifactSelection,
): Promise<string[]> {
  const { attempt, workspace, uploads, log, signal } = order;
  const numbered = files.map((file, number) => ({ ...file, number }));
  const small = numbered.filter(({ size }) => size <= PACKED_BYTES);
  const packed = small.length >= WORTH_PACKING ? small : [];
  const refused: string[] = [];
  const failed = (path: string, error: unknown): void => {
    signal.throwIfAborted();
    const { reason } = failedEnding(readingFailure(error));
    if (reason?.code !== 'artifact-refused') throw error;
    const why = reason.message.replace(`${quotedPath(path)}: `, '');
    const fails = error instanceof MasterRefusal || literal.has(path);
    if (fails) refused.push(`${quotedPath(path)}: ${why}`);
    else leftOut.add(path, why);
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
        // Because of one of them, or since it is a pack: the others are taken.
        for (const { number, file } of each()) await send(number, file);
      }
    }
  };
  const inPacks = new Set(packed.map(({ number }) => number));
  const queue = numbered.filter(({ number }) => !inPacks.has(number)).values();
  const lane = async (): Promise<void> => {
    for (const { number, path, size, mode } of queue)
      await send(number, { path, size, mode: mode & 0o777, open: () => workspace.read(path) });
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

/** A file of the worker's own disk that cannot be read is no error of the worker. */
function readingFailure(error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return error;
  return new FarmError('artifact-refused', `it cannot be read (${code})`, {}, { cause: error });
}

function few(list: readonly string[]): string {
  const rest = list.length - NAMED;
  return list.slice(0, NAMED).join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}
