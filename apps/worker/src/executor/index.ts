import { FarmError, unreachable } from '@impgem/kit';
import { join } from 'node:path';
import type { ExecutorConfig } from './config.js';
import { DockerExecutor } from './docker/docker-executor.js';
import type { Executor } from './executor.js';
import { HostExecutor } from './host/host-executor.js';
import { ScriptedExecutor } from './scripted/scripted-executor.js';

export { engineCare } from './docker/care.js';
export type { DockerConfig, ExecutorConfig } from './config.js';
export { DOCKER_DEFAULTS } from './config.js';
export type * from './executor.js';

/**
 * The executor that the worker's config asks for; nothing is touched before its `open`.
 * Throws a `FarmError` when the config does not allow it.
 */
export function createExecutor(config: ExecutorConfig): Executor {
  switch (config.executor) {
    case 'scripted':
      return new ScriptedExecutor();
    case 'docker':
      return new DockerExecutor(config.docker);
    case 'host':
      if (!config.allowHost) {
        throw new FarmError(
          'policy',
          "the host executor runs builds without isolation, as this worker's user; allow it with IMPGEM_ALLOW_HOST_EXECUTOR=1",
        );
      }
      return new HostExecutor(join(config.dataDir, 'host-workspaces'));
    default:
      return unreachable(config.executor);
  }
}
