import { FarmError, unreachable } from '@impgem/kit';
import type { ExecutorConfig } from './config.js';
import { DockerExecutor } from './docker/docker-executor.js';
import type { Executor } from './executor.js';
import { ScriptedExecutor } from './scripted/scripted-executor.js';

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
      throw new FarmError('worker-error', `the ${config.executor} executor is not there yet`);
    default:
      return unreachable(config.executor);
  }
}
