import { FarmError } from '@impgem/kit';
import type Docker from 'dockerode';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { statusOf, unlessGone, wordsOf } from './engine.js';
import { isStaticFor } from './static-binary.js';

/** Where Debian, Alpine and others keep a busybox; the static one is taken. */
const PLACES = [
  '/bin/busybox',
  '/usr/bin/busybox',
  '/bin/busybox.static',
  '/usr/local/bin/busybox',
];
const APPLETS = ['sh', 'sleep', 'ip', 'cat', 'stat', 'base64', 'chmod', 'find', 'xargs'];
const REPOSITORY = 'impgem/holder';
const PULLED = 'busybox:stable';
const EPOCH = new Date(0);

/**
 * Finds or makes the image of holders and helpers, and returns its name: one static busybox and links to it,
 * nothing a step could use. Its name carries the hash of its content, and that content depends on the program
 * alone (fixed times), so workers that make it at the same time make the same image.
 *
 * The program comes from, in this order: the worker's machine; a `busybox` image that the engine has (read
 * through a created container, nothing runs); the registry. When the only busybox is not static, its image
 * serves as it is.
 */
export async function holderImage(engine: Docker, labels: Record<string, string>): Promise<string> {
  const { Arch: arch } = await engine.version();
  const local = await fromMachine(arch);
  if (local) return build(engine, arch, local);
  const ready = await made(engine, arch);
  if (ready) return ready;
  const image = (await busyboxImage(engine)) ?? (await pulled(engine));
  const inside = await fromImage(engine, image, labels);
  return inside && isStaticFor(arch, inside) ? build(engine, arch, inside) : image;
}

async function fromMachine(arch: string): Promise<Buffer | undefined> {
  for (const place of PLACES) {
    try {
      const program = await readFile(place);
      if (isStaticFor(arch, program)) return program;
    } catch {
      // Not here; the next place.
    }
  }
  return undefined;
}

/** One that an earlier start made, when its source is not at hand any more. */
async function made(engine: Docker, arch: string): Promise<string | undefined> {
  const images = await engine.listImages({ filters: { reference: [`${REPOSITORY}:*`] } });
  return images.flatMap(({ RepoTags }) => RepoTags ?? []).find((tag) => tag.includes(`:${arch}-`));
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

async function build(engine: Docker, arch: string, program: Buffer): Promise<string> {
  const layer = await layerOf(program);
  const sum = sha256(layer);
  const name = `${REPOSITORY}:${arch}-${sum.slice(0, 16)}`;
  try {
    await engine.getImage(name).inspect();
    return name;
  } catch (error) {
    if (statusOf(error) !== 404) throw error;
  }
  const progress = await engine.loadImage(
    Readable.from([await archiveOf({ arch, name, layer, sum })]),
  );
  await buffer(progress);
  return name;
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
    config: { Env: ['PATH=/bin'], WorkingDir: '/', Labels: { 'impgem.role': 'holder-image' } },
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
