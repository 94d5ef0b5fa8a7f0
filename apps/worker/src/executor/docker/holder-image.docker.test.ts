import { describe, expect, it } from '@jest/globals';
import { testEngine } from '@impgem/testkit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { holderImage } from './holder-image.js';

/** The engine as it is where no holder image was ever made; collects the archives that are read from it. */
function unprepared(engine: Docker, archives: Readable[]): Docker {
  const missing = {
    inspect: () => Promise.reject(Object.assign(new Error(), { statusCode: 404 })),
  };
  const listImages = async (options: Docker.ListImagesOptions): Promise<Docker.ImageInfo[]> => {
    const found = await engine.listImages(options);
    return found.filter(({ RepoTags }) => !RepoTags?.some((tag) => tag.startsWith('impgem/')));
  };
  const createContainer = async (
    options: Docker.ContainerCreateOptions,
  ): Promise<Docker.Container> => {
    const container = await engine.createContainer(options);
    const getArchive = container.getArchive.bind(container);
    container.getArchive = (async (from: { path: string }) => {
      const archive = await getArchive(from);
      archives.push(archive as Readable);
      return archive;
    }) as typeof container.getArchive;
    return container;
  };
  return new Proxy(engine, {
    get: (target, key) =>
      ({ getImage: () => missing, listImages, createContainer })[key as string] ??
      (Reflect.get(target, key) as unknown),
  });
}

describe('the image of holders', () => {
  it('is made from a busybox of the engine, and leaves no connection open', async () => {
    const archives: Readable[] = [];
    const labels = { 'impgem.farm': 'holder-image-test' };
    const name = await holderImage(unprepared(testEngine(), archives), labels);
    expect(name).toMatch(/^impgem\/holder:/);
    for (const archive of archives) expect(archive.destroyed).toBe(true);
    await expect(testEngine().getImage(name).inspect()).resolves.toMatchObject({
      RepoTags: expect.arrayContaining([name]),
    });
  });
});
