import type Docker from 'dockerode';
import { posix } from 'node:path';
import type { DockerConfig } from '../config.js';
import type { Attempt, Identity, StepSpec } from '../executor.js';
import { shellText } from '../shell-text.js';
import { MOUNT } from './docker-workspace.js';
import { labelsOf, nameOf } from './labels.js';
import type { Policy } from './policy.js';

/** Without these `apt-get`, `chown` and `su` fail; none of them reaches out of the container. */
const CAPABILITIES = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'SETUID', 'SETGID', 'KILL'];
/** What the engine's log may hold beyond the cap, so that the cap's own gap marker decides what is cut. */
const LOG_MARGIN = 16 * 1024 * 1024;

/** No core file, which may be as big as the step's memory. */
const NO_CORE = { Name: 'core', Soft: 0, Hard: 0 };

export interface StepOptionsOrder {
  identity: Identity;
  attempt: Attempt;
  step: StepSpec;
  /** Path of the image's shell. */
  shell: string;
  volume: string;
  /** Id of the container whose network the step joins; none: no network. */
  holder: string | undefined;
  policy: Policy;
  config: DockerConfig;
  init: boolean;
  /** See `runOf`. */
  run: string;
}

/** On a step's container: which step, and in which run of the engine it was made. */
export const STEP_LABEL = 'impgem.step';
export const RUN_LABEL = 'impgem.engine-run';

const least = (...values: (number | undefined)[]): number =>
  Math.min(...values.filter((value) => value !== undefined));

/** The container of a step: everything by API fields, nothing on a command line but `sh -e -c` and the text. */
export function stepOptions(order: StepOptionsOrder): Docker.ContainerCreateOptions {
  const { identity, attempt, step, volume, holder, policy, config, init } = order;
  const memory = least(config.memory, policy.memory);
  const cpus = least(config.cpus, policy.cpus);
  return {
    name: nameOf(identity, 'step', attempt),
    Image: step.image ?? '',
    // An image's own entry point and health check are no part of the step.
    Entrypoint: [order.shell, '-e', '-c'],
    Cmd: [shellText(step)],
    Healthcheck: { Test: ['NONE'] },
    // Root in its container, with the few capabilities left: the workspace then belongs to all images' steps.
    User: '0:0',
    // Makes the init process pass TERM on to all of the step, not to its shell alone.
    Env: [
      ...Object.entries(step.env).map(([name, value]) => `${name}=${value}`),
      ...(init ? ['TINI_KILL_PROCESS_GROUP=1'] : []),
    ],
    WorkingDir: posix.join(MOUNT, step.workdir ?? ''),
    Labels: {
      ...labelsOf(identity, 'step', attempt),
      [STEP_LABEL]: String(step.index),
      [RUN_LABEL]: order.run,
    },
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: {
      NetworkMode: holder === undefined ? 'none' : `container:${holder}`,
      Mounts: [{ Type: 'volume', Source: volume, Target: MOUNT }],
      Binds: [...policy.mounts],
      CapDrop: ['ALL'],
      CapAdd: [...CAPABILITIES, ...policy.capabilities],
      SecurityOpt: ['no-new-privileges'],
      Init: init,
      PidsLimit: least(config.pids, policy.pids),
      Memory: memory,
      // Equal, so that there is no swap beyond it.
      MemorySwap: memory,
      Ulimits: [NO_CORE],
      ...(policy.disk !== undefined && { StorageOpt: { size: String(policy.disk) } }),
      ...(Number.isFinite(cpus) && { NanoCpus: Math.round(cpus * 1e9) }),
      LogConfig: {
        Type: 'local',
        Config: {
          'max-file': '1',
          compress: 'false',
          'max-size': String(config.logCap + LOG_MARGIN),
        },
      },
    },
  };
}
