import { execFile } from 'node:child_process';
import { FarmError } from '@impgem/kit';
import { inherited } from '../config.js';

/** An engine or a database that does not answer is given up by then. */
const PATIENCE_MS = 60_000;
const MOST_BYTES = 64 * 1024 * 1024;

/**
 * What another of our programs answers: one line of JSON on its stdout. Rejects with `FarmError('program-failed')`
 * with the program's own words.
 */
export function askProgram<T>(
  file: string,
  args: readonly string[],
  { env = {}, input }: { env?: Record<string, string>; input?: unknown } = {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const answered = (text: string) => {
      try {
        resolve(JSON.parse(text) as T);
      } catch (cause) {
        reject(new FarmError('program-failed', `${file} answered no JSON`, {}, { cause }));
      }
    };
    const options = { env: inherited(env), timeout: PATIENCE_MS, maxBuffer: MOST_BYTES };
    const child = execFile(process.execPath, [file, ...args], options, (error, stdout, stderr) => {
      if (!error) return answered(stdout);
      const words = error.killed ? 'it did not answer in time' : wordsOf(stderr) || error.message;
      reject(new FarmError('program-failed', words, {}, { cause: error }));
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input === undefined ? '' : JSON.stringify(input));
  });
}

/** The message of each line of a log, or the text as it is. */
function wordsOf(stderr: string): string {
  return stderr
    .trim()
    .split('\n')
    .map((line) => {
      try {
        return (JSON.parse(line) as { msg?: string }).msg ?? line;
      } catch {
        return line;
      }
    })
    .join('; ');
}
