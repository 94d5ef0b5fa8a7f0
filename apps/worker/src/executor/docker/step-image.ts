import type { IncomingMessage } from 'node:http';
import { FarmError } from '@impgem/kit';
import type Docker from 'dockerode';
import { posix } from 'node:path';
import { MOUNT } from './docker-workspace.js';
import { statusOf, unlessGone } from './engine.js';
import type { FoundImage } from './images.js';

/** What the engine uses where an image sets none. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const SHELL = '/bin/sh';
/** Images that are remembered. */
const MOST = 1000;

interface Known {
  shell: string;
  /** What the log says before each step of it; empty as a rule. */
  note: string;
}

/**
 * Looks into an image, once, whether steps can run in it: whether it has a shell, and hides nothing of the workspace. Its
 * own PATH, user, entry point and folder make no difference then.
 */
export class StepImages {
  readonly #known = new Map<string, Known>();

  constructor(
    private readonly engine: Docker,
    private readonly labels: Record<string, string>,
  ) {}

  /** The shell's path. Rejects with a `FarmError` of code `image-unusable`. */
  async shellOf(image: FoundImage, say: (line: string) => void): Promise<string> {
    let known = this.#known.get(image.id);
    if (!known) {
      known = await this.#look(image);
      if (this.#known.size >= MOST) this.#known.clear();
      this.#known.set(image.id, known);
    }
    if (known.note !== '') say(known.note);
    return known.shell;
  }

  async #look({ id, reference }: FoundImage): Promise<Known> {
    const { Config, Os, Architecture } = await this.engine.getImage(id).inspect();
    if (Os !== 'linux') throw unusable(reference, `is for ${Os}, and steps run on Linux`);
    const volumes = Object.keys((Config?.Volumes as object | undefined) ?? {});
    const hiding = volumes.find(
      (one) =>
        posix.join('/', one).startsWith(`${MOUNT}/`) && posix.join('/', one, '/') !== `${MOUNT}/`,
    );
    if (hiding !== undefined)
      throw unusable(
        reference,
        `declares VOLUME ${hiding}, which would hide that part of the workspace from other steps and from the artifacts`,
      );
    const { Arch } = await this.engine.version();
    const note =
      Architecture === Arch
        ? ''
        : `the image is for ${Architecture}, and this machine is ${Arch}: its programs run only where that is emulated`;
    return { shell: await this.#shell(id, reference, pathOf(Config?.Env)), note };
  }

  /** Through a container that never runs. */
  async #shell(id: string, reference: string, path: string): Promise<string> {
    const { engine, labels } = this;
    const container = await engine.createContainer({
      Image: id,
      Entrypoint: ['sh'],
      Labels: labels,
      HostConfig: { NetworkMode: 'none' },
    });
    try {
      const folders = path.split(':').filter((folder) => folder.startsWith('/'));
      for (const place of [SHELL, ...folders.map((folder) => posix.join(folder, 'sh'))])
        if (await isThere(container, place)) return place;
    } finally {
      await unlessGone(container.remove({ force: true, v: true }), true);
    }
    throw unusable(
      reference,
      `has no shell: neither ${SHELL} nor an \`sh\` in its PATH (${path}). A step is shell text: use an image that has one`,
    );
  }
}

async function isThere(container: Docker.Container, path: string): Promise<boolean> {
  try {
    const answer = (await container.infoArchive({ path })) as IncomingMessage;
    // Without this its connection stays open: what nobody reads does not end.
    answer.resume();
    return true;
  } catch (error) {
    if (statusOf(error) === 404) return false;
    throw error;
  }
}

function pathOf(env: readonly string[] | null | undefined): string {
  return env?.find((one) => one.startsWith('PATH='))?.slice('PATH='.length) ?? PATH;
}

function unusable(reference: string, why: string): FarmError {
  return new FarmError('image-unusable', `the image ${reference} ${why}`, { image: reference });
}
