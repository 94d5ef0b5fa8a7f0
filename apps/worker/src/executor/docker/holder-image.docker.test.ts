import { describe, expect, it } from '@jest/globals';
import { testEngine } from '@impgem/testkit';
import type Docker from 'dockerode';
import type { Readable } from 'node:stream';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holderImage } from './holder-image.js';
import { isStaticFor } from './static-binary.js';

/** The engine as it is where no holder image was ever made; collects the archives that are read from it. */
function unprepared(engine: Docker, archives: Readable[]): Docker {
  const missing = {
    inspect: () => Promise.reject(Object.assign(new Error(), { statusCode: 404 })),
  };
  let loaded = false;
  const loadImage = async (archive: NodeJS.ReadableStream): Promise<NodeJS.ReadableStream> => {
    loaded = true;
    return engine.loadImage(archive);
  };
  const getImage = (name: string): unknown =>
    loaded || name.startsWith('busybox') ? engine.getImage(name) : missing;
  const listImages = async (options: Docker.ListImagesOptions): Promise<Docker.ImageInfo[]> => {
    const found = await engine.listImages(options);
    return found.filter(({ RepoTags }) => !RepoTags?.some((tag) => tag.startsWith('impgem')));
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
      ({ getImage, listImages, loadImage, createContainer })[key as string] ??
      (Reflect.get(target, key) as unknown),
  });
}

const labels = { 'impgem.farm': 'holder-image-test' };
const engine = testEngine();

describe('the image of holders', () => {
  it('is made from a busybox of the engine, and leaves no connection open', async () => {
    const archives: Readable[] = [];
    const { id, own } = await holderImage(unprepared(engine, archives), labels);
    expect(own).toBe(true);
    for (const archive of archives) expect(archive.destroyed).toBe(true);
    const { RepoTags, RootFS } = await engine.getImage(id).inspect();
    expect(RepoTags).toContainEqual(expect.stringMatching(/^impgem\.invalid\/holder:/));
    expect(
      RepoTags.some((tag) => tag.endsWith(`-${RootFS.Layers?.[0]?.slice('sha256:'.length)}`)),
    ).toBe(true);
  });

  it('is made anew when another image has its name, whatever that holds', async () => {
    const { id } = await holderImage(engine, labels);
    const [name = ''] = (await engine.getImage(id).inspect()).RepoTags;
    const [repo = '', tag = ''] = name.split(':');
    await engine.getImage('busybox:1.37').tag({ repo, tag });
    expect((await engine.getImage(name).inspect()).Id).not.toBe(id);
    expect(await holderImage(engine, labels)).toEqual({ id, own: true });
    expect((await engine.getImage(name).inspect()).Id).toBe(id);
  });

  it('is made anew when one of its content was given an entry point', async () => {
    const { id } = await holderImage(engine, labels);
    const [name = ''] = (await engine.getImage(id).inspect()).RepoTags;
    const [repo = '', tag = ''] = name.split(':');
    const container = await engine.createContainer({ Image: id, Cmd: ['true'], Labels: labels });
    const changes = 'ENTRYPOINT ["/bin/sh"]';
    const { Id } = (await container.commit({ repo, tag, changes })) as { Id: string };
    await container.remove();
    try {
      expect(await holderImage(engine, labels)).toEqual({ id, own: true });
    } finally {
      await engine.getImage(Id).remove({ force: true });
    }
  });

  it('is not taken from an older version by its name, which goes', async () => {
    const old = { repo: 'impgem/holder', tag: 'amd64-0000000000000000' };
    await engine.getImage('busybox:1.37').tag(old);
    const busybox = await engine.getImage('busybox:1.37').inspect();
    const { id } = await holderImage(engine, labels);
    expect(id).not.toBe(busybox.Id);
    await expect(engine.getImage(`${old.repo}:${old.tag}`).inspect()).rejects.toMatchObject({
      statusCode: 404,
    });
  });

  it('keeps its program for a start without any image', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'impgem-program-'));
    try {
      const kept = join(folder, 'program');
      const { id } = await holderImage(unprepared(engine, []), labels, kept);
      const { Architecture } = await engine.getImage(id).inspect();
      if (existsSync(kept)) expect(isStaticFor(Architecture, readFileSync(kept))).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
