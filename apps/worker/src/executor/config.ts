import type { ExecutorName } from '@impgem/protocol';

/** What the worker's own config says about how steps run here. Sizes in bytes. */
export interface ExecutorConfig {
  executor: ExecutorName;
  /** Absolute; executors keep what must outlive the process in folders below. */
  dataDir: string;
  /** The `host` executor runs other people's commands as the worker's user: only with this set. */
  allowHost: boolean;
  docker: DockerConfig;
}

export interface DockerConfig {
  /** `unix:///path`, `tcp://host:port` or `http(s)://…`; the engine's usual socket when absent. */
  host?: string;
  /** Absolute path of the policy file; the safe defaults when absent. */
  policyFile?: string;
  /** Of each step. */
  memory: number;
  /** Processors of each step, may be a fraction; all of them when absent. */
  cpus?: number;
  /** Processes and threads of each step. */
  pids: number;
  /** IPv4 range in CIDR form from which the slots' networks get their /28. */
  networksRange: string;
  /** Bytes of output that a step may make; the engine keeps that much, plus a margin. */
  logCap: number;
  /** Builds at once, so many networks are kept ready (and one more). */
  slots: number;
  /** Folder of Docker's own `config.json` with the registries' credentials; `~/.docker` when absent. */
  credentialsDir?: string;
  /** Where is kept in mind which images this worker pulled; in memory alone when absent. */
  imagesFile?: string;
  /** Where the program of holders is kept for later starts; nowhere when absent. */
  programFile?: string;
  /** Ports at which a step must not find an answer on the engine's machine: the master's, say. */
  ports: readonly number[];
  /** Name servers for steps; the engine's choice when empty. */
  resolvers: readonly string[];
}

export const DOCKER_DEFAULTS: DockerConfig = {
  memory: 2 * 1024 ** 3,
  pids: 2048,
  networksRange: '10.213.0.0/16',
  logCap: 1024 ** 3,
  slots: 1,
  // Of an engine, with and without TLS; of PostgreSQL.
  ports: [2375, 2376, 5432],
  resolvers: [],
};
