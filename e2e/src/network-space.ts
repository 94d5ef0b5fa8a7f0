import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const run = (line: string) => execute('sh', ['-e', '-c', line]);

/** Addresses for four of them in each of 4096 processes; two test runs may happen at the same time. */
const PER_PROCESS = 4;
let made = 0;

/** A network of its own that one cable joins to this machine. Only root can make one. */
export class NetworkSpace {
  /** This machine's address and the one inside. */
  readonly here: string;
  readonly there: string;
  /** Put before a command, runs it inside. */
  readonly inside: readonly string[];
  readonly #cable: string;
  readonly #farEnd: string;
  /** Where it is held. By `ip netns add` the folder of all of them would stay mounted when the last has gone. */
  readonly #file: string;

  private constructor(name: string) {
    const n = (process.pid * PER_PROCESS + (made++ % PER_PROCESS)) % 16_384;
    const address = (host: number) => `10.99.${n >> 6}.${(n & 63) * 4 + host}`;
    this.here = address(1);
    this.there = address(2);
    this.#file = join(tmpdir(), `impgem-net-${name}-${n}`);
    this.inside = ['nsenter', `--net=${this.#file}`];
    this.#cable = `ig${n}a`;
    this.#farEnd = `ig${n}b`;
  }

  static async make(name: string): Promise<NetworkSpace> {
    const space = new NetworkSpace(name);
    const [near, far, file] = [space.#cable, space.#farEnd, space.#file];
    const inside = space.inside.join(' ');
    await run(`touch ${file}
      unshare --net=${file} true
      ${inside} ip link add ${far} type veth peer name ${near} netns $$
      ip address add ${space.here}/30 dev ${near}
      ip link set ${near} up
      ${inside} ip address add ${space.there}/30 dev ${far}
      ${inside} ip link set ${far} up
      ${inside} ip link set lo up`).catch(async (error: unknown) => {
      await space.remove();
      throw error;
    });
    return space;
  }

  /** Rejects whatever does not go to this port of this machine. */
  async allowOnly(port: number): Promise<void> {
    await this.#filter(
      `-A OUTPUT -o ${this.#farEnd} -p tcp -d ${this.here} --dport ${port} -j ACCEPT`,
    );
    await this.#filter(`-A OUTPUT -o ${this.#farEnd} -j REJECT`);
  }

  /** Every packet is dropped, in both directions, and nobody is told. */
  async part(): Promise<void> {
    await this.#filter(`-I OUTPUT -o ${this.#farEnd} -j DROP`);
    await this.#filter(`-I INPUT -i ${this.#farEnd} -j DROP`);
  }

  async join(): Promise<void> {
    await this.#filter(`-D OUTPUT -o ${this.#farEnd} -j DROP`);
    await this.#filter(`-D INPUT -i ${this.#farEnd} -j DROP`);
  }

  async remove(): Promise<void> {
    await run(
      `ip link delete ${this.#cable} 2>/dev/null || true; umount ${this.#file} 2>/dev/null || true; rm -f ${this.#file}`,
    );
  }

  async #filter(rule: string): Promise<void> {
    await run([...this.inside, 'iptables', '-w', rule].join(' '));
  }
}
