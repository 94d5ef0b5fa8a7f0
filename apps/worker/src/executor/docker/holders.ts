import { deferred, FarmError } from '@impgem/kit';
import type { Deferred } from '@impgem/kit';
import type Docker from 'dockerode';
import { randomInt } from 'node:crypto';
import type { Identity } from '../executor.js';
import { blockArguments, blocksOf, missingBlocks, SET_BLOCKS, type Block } from './blocks.js';
import { engineFailure, statusOf, unlessGone, wordsOf } from './engine.js';
import { run } from './helper.js';
import { HOLDER_COMMAND, HolderShell } from './holder-shell.js';
import { ASK_HOST, gatewayOf, hostBlocks, PROBE, readHostFacts, readProbe } from './host-facts.js';
import type { HostFacts } from './host-facts.js';
import { labelsOf, nameOf } from './labels.js';
import type { Role } from './labels.js';
import { freeSubnet, parseSubnet, printSubnet } from './subnets.js';
import type { Subnet } from './subnets.js';

/** A warm network namespace: a tiny container on a bridge of its own. */
export interface Holder {
  container: Docker.Container;
  network: Docker.Network;
  /** Absent when an earlier process made it. */
  shell: HolderShell | undefined;
  /** What its files said when it was new. */
  report: string;
  uses: number;
}

/** Of a holder, or of one that was not finished. */
interface Remains {
  container: Docker.Container | undefined;
  network: Docker.Network;
}

export interface HolderOrder {
  engine: Docker;
  identity: Identity;
  /** The engine's id of it. */
  image: string;
  networksRange: string;
  resolvers: readonly string[];
  /** What steps cannot reach, as the policy lists it. */
  blocked: readonly string[];
  /** Whether steps reach the engine's own machine. */
  host: 'deny' | 'allow';
  /** Ports on the engine's machine at which nobody may answer a step; they are tried once. */
  ports: readonly number[];
}

/** A holder is thrown away after so many builds, so that nothing can gather in it. */
const MOST_USES = 200;
const OVERLAP_TRIES = 20;
/** Addresses of the engine's machine that are tried. */
const MOST_PROBED = 16;
const MEMORY = 16 * 1024 * 1024;
/**
 * Hands out holders, each to one build at a time. A holder that comes back is reset (the files that the build's
 * steps could write) and checked before the next build gets it; that takes a moment, so it happens here, while
 * one more holder than there are slots waits ready: no build waits for a reset.
 */
export class Holders {
  readonly #clean: Holder[] = [];
  readonly #waiting: Deferred<Holder>[] = [];
  readonly #own = new Map<string, Holder>();
  readonly #names = new Set<string>();
  readonly #work = new Set<Promise<void>>();
  /** The engine was away when they were to go. */
  readonly #remains = new Set<Remains>();
  #coming = 0;
  #closed = false;
  #facts: Promise<HostFacts> | undefined;
  /** Settles with the addresses and ports of the engine's machine that a step reaches, once that was tried. */
  readonly exposed: Promise<string[]>;
  readonly #exposed = deferred<string[]>();
  #probed = false;

  constructor(private readonly order: HolderOrder) {
    this.exposed = this.#exposed.promise;
  }

  /** Makes holders until there are `count`, in the background; errors show when one is taken. */
  warm(count: number): void {
    for (let have = this.#own.size + this.#coming; have < count; have++) this.#make();
  }

  /** A clean holder, the one that is idle for longest: at once when one is ready. Rejects with a `FarmError`. */
  async take(): Promise<Holder> {
    for (let holder = this.#clean.shift(); holder; holder = this.#clean.shift()) {
      if (holder.shell?.closed === false) return holder;
      // An engine that was restarted took all holders with it.
      this.#discard(holder);
    }
    const wanted = deferred<Holder>();
    this.#waiting.push(wanted);
    if (this.#coming < this.#waiting.length) this.#make();
    return wanted.promise;
  }

  /**
   * The holder that an earlier process made, for the build that is in it: it is thrown away after that, since
   * nobody knows what its files said when it was new. Undefined when it does not run any more.
   */
  async adopt(id: string): Promise<Holder | undefined> {
    const { engine } = this.order;
    const container = engine.getContainer(id);
    const found = await container.inspect().catch((error: unknown) => {
      if (statusOf(error) === 404) return undefined;
      throw error;
    });
    const [network] = Object.entries(found?.NetworkSettings.Networks ?? {});
    if (!found?.State.Running || !network) return undefined;
    const [name, { NetworkID }] = network;
    this.#names.add(found.Name.slice(1)).add(name);
    const holder = {
      container,
      network: engine.getNetwork(NetworkID),
      shell: undefined,
      report: '',
      uses: MOST_USES,
    };
    this.#own.set(found.Id, holder);
    return holder;
  }

  /** Settles when nothing is being made or removed. */
  async settled(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Takes a holder back; `spoiled` when it must not be used again. */
  give(holder: Holder, spoiled: boolean): void {
    holder.uses++;
    if (spoiled || this.#closed || holder.uses >= MOST_USES) this.#discard(holder);
    else this.#background(this.#reset(holder));
  }

  /** True for the containers and networks that this process uses. */
  owns(name: string): boolean {
    return this.#names.has(name);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    for (const holder of this.#own.values()) this.#discard(holder);
    this.#removeRemains();
    await this.settled();
  }

  #background(work: Promise<void>): void {
    const tracked = work.finally(() => this.#work.delete(tracked));
    // What waits for it is told; else nobody is.
    tracked.catch(() => undefined);
    this.#work.add(tracked);
  }

  #ready(holder: Holder): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve(holder);
    else this.#clean.push(holder);
  }

  #make(): void {
    this.#coming++;
    const work = async (): Promise<void> => {
      try {
        const holder = await this.#create();
        this.#coming--;
        this.#ready(holder);
      } catch (error) {
        this.#coming--;
        this.#waiting.shift()?.reject(engineFailure(error, 'make a network for a build'));
      }
    };
    this.#background(work());
  }

  async #reset(holder: Holder): Promise<void> {
    this.#coming++;
    let clean = false;
    try {
      clean = (await holder.shell?.reset()) === holder.report;
    } catch {
      // Then it is not clean, which is all that counts.
    }
    this.#coming--;
    if (clean) {
      this.#ready(holder);
      return;
    }
    this.#discard(holder);
    if (!this.#closed) this.#make();
  }

  #discard(holder: Holder): void {
    this.#own.delete(holder.container.id);
    holder.shell?.close();
    this.#remove(holder);
  }

  #remove(remains: Remains): void {
    this.#background(remove(remains).catch(() => void this.#remains.add(remains)));
  }

  #removeRemains(): void {
    const all = [...this.#remains];
    this.#remains.clear();
    for (const one of all) this.#remove(one);
  }

  async #create(): Promise<Holder> {
    const { engine, identity, image, resolvers } = this.order;
    const { network, subnet } = await this.#network();
    let container: Docker.Container | undefined;
    try {
      const name = this.#name('holder');
      container = await engine.createContainer({
        name,
        Image: image,
        Cmd: HOLDER_COMMAND,
        OpenStdin: true,
        Labels: labelsOf(identity, 'holder'),
        HostConfig: {
          NetworkMode: network.id,
          CapDrop: ['ALL'],
          SecurityOpt: ['no-new-privileges'],
          Memory: MEMORY,
          MemorySwap: MEMORY,
          PidsLimit: 16,
          LogConfig: { Type: 'none', Config: {} },
          ...(resolvers.length > 0 && { Dns: [...resolvers] }),
        },
      });
      const shell = await HolderShell.open(container);
      await container.start();
      const blocks = await this.#blocks(subnet);
      await this.#block(container, blocks, gatewayOf(subnet));
      const report = await shell.reset();
      const missing = missingBlocks(blocks, report);
      if (missing.length > 0) throw notBlocked(missing);
      const holder = { container, network, shell, report, uses: 0 };
      this.#own.set(container.id, holder);
      this.#removeRemains();
      return holder;
    } catch (error) {
      this.#remove({ container, network });
      throw error;
    }
  }

  async #blocks(subnet: Subnet): Promise<Block[]> {
    const { blocked, host, networksRange, resolvers } = this.order;
    const range = parseSubnet(networksRange);
    const order = { facts: await this.#host(), range, gateway: gatewayOf(subnet), resolvers };
    const all = [...(host === 'deny' ? hostBlocks(order) : []), ...blocksOf(blocked)];
    // Of two routes to one place the kernel keeps the later.
    return [...new Map(all.map((block) => [`${block.family} ${block.to}`, block])).values()];
  }

  /**
   * Steps cannot take the routes away: they have no NET_ADMIN. In the network of the first holder it is tried whether
   * they hold.
   */
  async #block(holder: Docker.Container, blocks: readonly Block[], gateway: string): Promise<void> {
    const { engine, identity, image, ports } = this.order;
    const probes = !this.#probed;
    this.#probed = true;
    const addresses = [gateway, ...(await this.#host()).addresses].slice(0, MOST_PROBED);
    const printed = await run(engine, {
      name: this.#name('helper'),
      Image: image,
      Cmd: ['/bin/sh', '-c', probes ? `${SET_BLOCKS}\n${PROBE}` : SET_BLOCKS, 'sh'].concat(
        blockArguments(blocks),
      ),
      Env: [`ADDRESSES=${addresses.join(' ')}`, `PORTS=${ports.join(' ')}`],
      Labels: labelsOf(identity, 'helper'),
      HostConfig: {
        NetworkMode: `container:${holder.id}`,
        CapDrop: ['ALL'],
        CapAdd: ['NET_ADMIN'],
      },
    }).catch((error: unknown) => {
      if (probes) this.#probed = false;
      throw error;
    });
    if (probes) this.#exposed.resolve(readProbe(printed));
  }

  /** Known before the object is there, so that no sweep of this process can take it for a leftover. */
  #name(role: Role): string {
    const name = nameOf(this.order.identity, role);
    this.#names.add(name);
    return name;
  }

  async #network(): Promise<{ network: Docker.Network; subnet: Subnet }> {
    const { engine, identity, networksRange } = this.order;
    const range = parseSubnet(networksRange);
    const { routes } = await this.#host();
    const refused: Subnet[] = [];
    for (let tries = 1; ; tries++) {
      const taken = [...routes, ...(await this.#subnets()), ...refused];
      const subnet = freeSubnet(range, taken, randomInt(4096));
      const name = this.#name('network');
      try {
        const network = await engine.createNetwork({
          Name: name,
          Driver: 'bridge',
          // Whatever the engine's own default is: a step has no address of that kind, and no way around the blocks.
          EnableIPv6: false,
          Labels: labelsOf(identity, 'network'),
          IPAM: {
            Driver: 'default',
            Config: [{ Subnet: printSubnet(subnet), Gateway: gatewayOf(subnet) }],
          },
        });
        return { network, subnet };
      } catch (error) {
        // Somebody else took it between the look and the wish.
        if (!/overlap/i.test(wordsOf(error)) || tries === OVERLAP_TRIES) throw error;
        refused.push(subnet);
      }
    }
  }

  async #subnets(): Promise<Subnet[]> {
    const networks = await this.order.engine.listNetworks();
    return networks
      .flatMap(({ IPAM }) => IPAM?.Config ?? [])
      .flatMap(({ Subnet: text }) => (text && !text.includes(':') ? [parseSubnet(text)] : []));
  }

  /** Asked once. */
  #host(): Promise<HostFacts> {
    this.#facts ??= this.#askHost().catch((error: unknown) => {
      this.#facts = undefined;
      throw error;
    });
    return this.#facts;
  }

  async #askHost(): Promise<HostFacts> {
    const { engine, identity, image } = this.order;
    const text = await run(engine, {
      name: this.#name('helper'),
      Image: image,
      Cmd: ['/bin/sh', '-c', ASK_HOST],
      Labels: labelsOf(identity, 'helper'),
      HostConfig: { NetworkMode: 'host', CapDrop: ['ALL'] },
    });
    return readHostFacts(text);
  }
}

function notBlocked(missing: readonly string[]): FarmError {
  return new FarmError(
    'engine-error',
    `the network of a build cannot be kept from ${missing.join(', ')}: its kernel did not take the route`,
  );
}

async function remove({ container, network }: Remains): Promise<void> {
  if (container) await unlessGone(container.remove({ force: true, v: true }), true);
  await unlessGone(network.remove());
}
