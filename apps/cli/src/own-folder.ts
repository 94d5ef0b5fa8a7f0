import { basename, dirname } from 'node:path';
import { makeOwn, whyForeign } from '@impgem/kit';
import { folderHost } from './config.js';

/**
 * Makes a farm's data folder ours, or answers in words why it is not used. `named`: whoever started us has said which
 * folder; else it was found in the current one, where anybody may have put it. A program of its own too, for `npm start`,
 * which keeps an engine below that folder.
 */
export function takeFolder(path: string, named: boolean): string | undefined {
  const why = named ? undefined : whyForeign(folderHost, dirname(path), [basename(path)]);
  if (why !== undefined)
    return `found ${path}, which is not used: it ${why}. If it is your farm's, say so once with --data ${path}`;
  makeOwn(folderHost, path);
  return undefined;
}
