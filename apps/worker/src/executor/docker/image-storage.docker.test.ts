import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startRegistry, testEngine, testEngineHost, type TestRegistry } from '@impgem/testkit';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageStorage } from './image-storage.js';
import { Images } from './images.js';
import { PulledImages } from './pulled-images.js';

const engine = testEngine();
/** One each, since the images of one registry are the same under all names. */
const registries: TestRegistry[] = [];
let folder: string;
let file: string;
let names: string[];

beforeAll(async () => {
  const arch = (await engine.version()).Arch;
  for (let n = 0; n < 6; n++) registries.push(await startRegistry(arch));
  names = registries.map(({ address }) => `${address}/image:latest`);
  folder = await mkdtemp(join(tmpdir(), 'impgem-images-'));
  file = join(folder, 'images.json');
});
afterAll(async () => {
  // also what lost its tag, and has only its digest
  const pulled = (await engine.listImages()).filter(({ RepoTags, RepoDigests }) =>
    [...(RepoTags ?? []), ...(RepoDigests ?? [])].some((name) =>
      registries.some(({ address }) => name.startsWith(`${address}/`)),
    ),
  );
  for (const { Id } of pulled) await engine.getImage(Id).remove({ force: true });
  for (const registry of registries) await registry.close();
  await rm(folder, { recursive: true });
});

const isThere = (name: string): Promise<boolean> =>
  engine
    .getImage(name)
    .inspect()
    .then(
      () => true,
      () => false,
    );
const ensure = (images: Images, name: string) =>
  images.ensure(name, () => undefined, new AbortController().signal);
const never = async (): Promise<boolean> => false;

function storage(pulled: PulledImages, images: Images, pinned: string[] = []) {
  const isPinned = (name: string) => pinned.includes(name);
  const isHeld = (name: string) => images.isHeld(name);
  return new ImageStorage({ engine, host: testEngineHost, pulled, isPinned, isHeld });
}

describe('ImageStorage', () => {
  it('knows where the engine of this machine keeps images, and of no other', async () => {
    const pulled = new PulledImages();
    const here = storage(pulled, new Images(engine, undefined, pulled));
    const { DockerRootDir } = (await engine.info()) as { DockerRootDir: string };
    expect(await here.root()).toBe(DockerRootDir);
    const there = new ImageStorage({
      engine,
      host: 'tcp://engine.example.org:2376',
      pulled,
      isPinned: () => false,
      isHeld: () => false,
    });
    expect(await there.root()).toBeUndefined();
  });

  it('removes what the farm pulled and nobody uses, the longest unused first', async () => {
    const [theirs, old, pinned, used, held, recent] = names as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const before = new PulledImages(file);
    const images = new Images(engine, undefined, before);
    // Somebody else's: it was there before a step asked for it.
    await ensure(new Images(engine, undefined), theirs);
    for (const name of [theirs, recent, old, pinned, used, held]) await ensure(images, name);
    await ensure(images, recent);
    const container = await engine.createContainer({ Image: used, Cmd: ['/data'] });
    try {
      // As a worker that has started anew since.
      const pulled = new PulledImages(file);
      const later = new Images(engine, undefined, pulled);
      const release = later.hold(held);
      const room = storage(pulled, later, [pinned]);
      const one = await room.evict(async () => !(await isThere(old)));
      expect(one).toEqual([old]);
      expect(await room.evict(never)).toEqual([recent]);
      release();
      expect(await room.evict(never)).toEqual([held]);
      for (const name of [theirs, pinned, used])
        expect([name, await isThere(name)]).toEqual([name, true]);
      for (const name of [old, recent, held])
        expect([name, await isThere(name)]).toEqual([name, false]);
      expect(JSON.parse(await readFile(file, 'utf8'))).toHaveLength(2);
    } finally {
      await container.remove({ force: true });
    }
  });

  it('lets an image be whose name somebody gave to another one', async () => {
    const pulled = new PulledImages();
    const images = new Images(engine, undefined, pulled);
    const [name, other] = names as [string, string];
    await engine.getImage(name).remove({ force: true });
    await ensure(images, name);
    await ensure(new Images(engine, undefined), other);
    await engine.getImage(other).tag({ repo: name.replace(/:latest$/, ''), tag: 'latest' });
    expect(await storage(pulled, images).evict(never)).toEqual([]);
    expect(await isThere(name)).toBe(true);
    expect(await pulled.all()).toEqual([]);
  });

  it('begins with nothing when its record is not readable', async () => {
    for (const text of ['{', 'null', '[{"reference": 1}]', '{"a": 1}']) {
      await writeFile(file, text);
      expect(await new PulledImages(file).all()).toEqual([]);
    }
  });
});
