import { execFile } from 'node:child_process';
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

  private constructor(readonly name: string) {
    const n = (process.pid * PER_PROCESS + (made++ % PER_PROCESS)) % 16_384;
    const address = (host: number) => `10.99.${n >> 6}.${(n & 63) * 4 + host}`;
    this.here = address(1);
    this.there = address(2);
    this.inside = ['nsenter', `--net=/run/netns/${name}`];
    this.#cable = `ig${n}a`;
    this.#farEnd = `ig${n}b`;
  }

  static async make(name: string): Promise<NetworkSpace> {
    const space = new NetworkSpace(name);
    const [near, far] = [space.#cable, space.#farEnd];
    await run(`ip netns add ${name}
      ip link add ${near} type veth peer name ${far}
      ip link set ${far} netns ${name}
      ip address add ${space.here}/30 dev ${near}
      ip link set ${near} up
      ip -n ${name} address add ${space.there}/30 dev ${far}
      ip -n ${name} link set ${far} up
      ip -n ${name} link set lo up`);
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
      `ip link delete ${this.#cable} 2>/dev/null || true; ip netns delete ${this.name} 2>/dev/null || true`,
    );
  }

  async #filter(rule: string): Promise<void> {
    await run([...this.inside, 'iptables', '-w', rule].join(' '));
  }
}
