import { readFile } from 'node:fs/promises';
import type { Client } from '@impgem/client';
import { exampleOf } from '../programs.js';
import { sampleRepository } from './sample-repository.js';

/** The builder that `impgem up` shows. */
export const QUICKSTART = 'quickstart';
/** By this line a farm file is known to be the quick start's, so that it may be replaced by a newer one. */
const MARK = '# The quick start of Imp Gem';

/**
 * Puts the quick start's farm file in force, unless another one is. Answers whether there is a builder to show.
 */
export async function prepareQuickstart(
  client: Client,
  repository: string,
  image: string | undefined,
): Promise<boolean> {
  const before = await client.farm.get();
  if (before && !before.source.startsWith(MARK)) return before.builders.includes(QUICKSTART);
  await sampleRepository(exampleOf('project'), repository);
  await client.farm.apply(
    quickstartFile(await readFile(exampleOf('farm.yml'), 'utf8'), repository, image),
  );
  return true;
}

/** The example with the repository that was made on this machine in it, and with another image if one is given. */
export function quickstartFile(
  text: string,
  repository: string,
  image: string | undefined,
): string {
  const withSource = text.replace(/git: .*/, () => `git: ${JSON.stringify(repository)}`);
  return image === undefined
    ? withSource
    : withSource.replace(/image: .*/, () => `image: ${JSON.stringify(image)}`);
}
