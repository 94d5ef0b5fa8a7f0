import { FarmError } from '@impgem/kit';
import type Docker from 'dockerode';
import { createHash } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { statusOf, unlessGone, wordsOf } from './engine.js';
import { OWN_HOST, OWN_OLD } from './policy.js';
import { isStaticFor } from './static-binary.js';

/** Where Debian, Alpine and others keep a busybox; the static one is taken. */
const PLACES = [
  '/bin/busybox',
  '/usr/bin/busybox',
  '/bin/busybox.static',
  '/usr/local/bin/busybox',
];
const APPLETS = [
  'sh',
  'sleep',
  'ip',
  'cat',
  'stat',
  'base64',
  'chmod',
  'find',
  'xargs',
  'grep',
  'nc',
  'true',
];
/** No registry serves a host of this top-level domain (RFC 2606), and steps are refused it: see `checkImage`. */
const REPOSITORY = `${OWN_HOST}/holder`;
const PULLED = 'busybox:stable';
const EPOCH = new Date(0);
const ENV = ['PATH=/bin'];

/** The image of holders and helpers. */
export interface HolderImage {
  /** The engine's own; a name could be given to another image. */
  id: string;
  /** Made by the farm, and for nothing else: no step may use it. */
  own: boolean;
}

/**
 * Finds or makes the image of holders and helpers: one static busybox and links to it, nothing a step could use. Its
 * name carries the hash of its content, and that content depends on the program alone (fixed times), so workers that
 * make it at the same time make the same image. What has that name is looked into before it is used, and made anew
 * when it is anything else.
 *
 * The program comes from, in this order: the worker's machine; the worker's data folder (`keptAt`), where it is put
 * when it came from further on; a `busybox` image that the engine has (read through a created container, nothing runs);
 * the registry. When the only busybox is not static, its image serves as it is.
 */
export async function holderImage(
  engine: Docker,
  labels: Record<string, string>,
  keptAt?: string,
): Promise<HolderImage> {
  const { Arch: arch } = await engine.version();
  await removeOld(engine);
  const local = await fromPlaces(arch, keptAt === undefined ? PLACES : [...PLACES, keptAt]);
  if (local) return build(engine, arch, local);
  const image = (await busyboxImage(engine)) ?? (await pulled(engine));
  const inside = await fromImage(engine, image, labels);
  if (!inside || !isStaticFor(arch, inside))
    return { id: (await engine.getImage(image).inspect()).Id, own: false };
  if (keptAt !== undefined) await keep(keptAt, inside);
  return build(engine, arch, inside);
}

/** Those of earlier versions; one that a running worker still uses the engine keeps. */
async function removeOld(engine: Docker): Promise<void> {
  const images = await engine.listImages({ filters: { reference: [`${OWN_OLD}:*`] } });
  for (const tag of images.flatMap(({ RepoTags }) => RepoTags ?? []))
    await engine
      .getImage(tag)
      .remove()
      .catch((error: unknown) => {
        if (statusOf(error) === undefined) throw error;
      });
}

/** The next start has it also when image and network are gone; without it that start looks again. */
async function keep(path: string, program: Buffer): Promise<void> {
  try {
    await writeFile(`${path}.new`, program, { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch {
    // A full disk, say.
  }
}

async function fromPlaces(arch: string, places: readonly string[]): Promise<Buffer | undefined> {
  for (const place of places) {
    try {
      const program = await readFile(place);
      if (isStaticFor(arch, program)) return program;
    } catch {
      // Not here; the next place.
    }
  }
  return undefined;
}

async function busyboxImage(engine: Docker): Promise<string | undefined> {
  const images = await engine.listImages({ filters: { reference: ['busybox:*'] } });
  return images.flatMap(({ RepoTags }) => RepoTags ?? []).find((tag) => !tag.endsWith(':<none>'));
}

async function pulled(engine: Docker): Promise<string> {
  try {
    const stream = await engine.pull(PULLED);
    await new Promise<void>((resolve, reject) => {
      engine.modem.followProgress(stream, (error) => (error ? reject(error) : resolve()));
    });
    return PULLED;
  } catch (cause) {
    throw new FarmError(
      'image-unavailable',
      `the worker needs a busybox for the holders of its networks, and found none: no static one on this machine, no busybox image on the engine, and ${PULLED} cannot be pulled (${wordsOf(cause)}). ` +
        'Install one (Debian: apt-get install busybox-static) or load an image (docker load, docker pull busybox).',
      {},
      { cause },
    );
  }
}

async function fromImage(
  engine: Docker,
  image: string,
  labels: Record<string, string>,
): Promise<Buffer | undefined> {
  const container = await engine.createContainer({ Image: image, Cmd: ['true'], Labels: labels });
  let archive: Readable | undefined;
  try {
    const extract = tar.extract();
    archive = (await container.getArchive({ path: '/bin/busybox' })) as Readable;
    archive.pipe(extract as unknown as NodeJS.WritableStream);
    for await (const entry of extract) {
      const program = await buffer(entry as unknown as Readable);
      if (entry.header.type === 'file') return program;
    }
    return undefined;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  } finally {
    // Its end is not read: left alone, the connection would stay, and keep the process.
    archive?.destroy();
    await unlessGone(container.remove({ force: true, v: true }));
  }
}

async function build(engine: Docker, arch: string, program: Buffer): Promise<HolderImage> {
  const layer = await layerOf(program);
  const sum = sha256(layer);
  const name = `${REPOSITORY}:${arch}-${sum}`;
  const there = await foundAs(engine, name, sum);
  if (there !== undefined) return { id: there, own: true };
  const progress = await engine.loadImage(
    Readable.from([await archiveOf({ arch, name, layer, sum })]),
  );
  await buffer(progress);
  const made = await foundAs(engine, name, sum);
  if (made !== undefined) return { id: made, own: true };
  throw new FarmError('engine-error', `the engine keeps another image under the name ${name}`);
}

/** The id of the image that has the name, when it is what we make: that layer alone, and nothing set beside it. */
async function foundAs(engine: Docker, name: string, sum: string): Promise<string | undefined> {
  try {
    const { Id, RootFS, Config } = await engine.getImage(name).inspect();
    return isOurs(RootFS?.Layers, Config, sum) ? Id : undefined;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

function isOurs(
  layers: readonly string[] | undefined,
  config: Partial<Docker.ImageInspectInfo['Config']> | null,
  sum: string,
): boolean {
  const { Entrypoint, Cmd, User, Volumes, OnBuild, Env, WorkingDir } = config ?? {};
  const set = [Entrypoint, Cmd, OnBuild, Volumes].some(
    (value) => Object.keys(value ?? {}).length > 0,
  );
  const plain = !set && !User && (WorkingDir ?? '/') === '/';
  return plain && String(Env) === String(ENV) && String(layers) === `sha256:${sum}`;
}

async function layerOf(program: Buffer): Promise<Buffer> {
  const pack = tar.pack();
  const common = { uid: 0, gid: 0, mtime: EPOCH };
  for (const folder of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'workspace']) {
    pack.entry({ ...common, name: folder, type: 'directory', mode: 0o755 });
  }
  pack.entry({ ...common, name: 'bin/busybox', type: 'file', mode: 0o755 }, program);
  for (const applet of APPLETS) {
    pack.entry({
      ...common,
      name: `bin/${applet}`,
      type: 'symlink',
      linkname: 'busybox',
      mode: 0o777,
    });
  }
  pack.finalize();
  return buffer(pack as unknown as Readable);
}

interface Parts {
  arch: string;
  name: string;
  layer: Buffer;
  sum: string;
}

/** What `docker load` reads: configuration, one layer, and the name. */
async function archiveOf({ arch, name, layer, sum }: Parts): Promise<Buffer> {
  const config = JSON.stringify({
    architecture: arch,
    os: 'linux',
    created: EPOCH.toISOString(),
    config: { Env: ENV, WorkingDir: '/', Labels: { 'impgem.role': 'holder-image' } },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sum}`] },
    history: [{ created: EPOCH.toISOString(), created_by: 'impgem' }],
  });
  const configName = `${sha256(config)}.json`;
  const manifest = JSON.stringify([
    { Config: configName, RepoTags: [name], Layers: [`${sum}/layer.tar`] },
  ]);
  const pack = tar.pack();
  pack.entry({ name: configName, mtime: EPOCH }, config);
  pack.entry({ name: sum, type: 'directory', mtime: EPOCH });
  pack.entry({ name: `${sum}/layer.tar`, mtime: EPOCH }, layer);
  pack.entry({ name: 'manifest.json', mtime: EPOCH }, manifest);
  pack.finalize();
  return buffer(pack as unknown as Readable);
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
