import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ROOT } from '../program.js';
import { Engine } from './engine.js';
import type { Amount } from './output.js';
import { machineTools } from './tools.js';

/** Where rounds are played: a folder, whose name nothing else on the machine carries, and an engine. */
export class Ground {
  /** Where logs of failed rounds go. */
  readonly keepIn = join(ROOT, '.impgem/chaos');

  private constructor(
    readonly dir: string,
    readonly engine: Engine,
    readonly amount: Amount,
  ) {}

  static async lay(amount: Amount): Promise<Ground> {
    const dir = await mkdtemp(join(tmpdir(), 'impgem-chaos-'));
    // PostgreSQL runs as another user when we are root
    await chmod(dir, 0o755);
    try {
      return new Ground(dir, await Engine.start(join(dir, 'engine')), amount);
    } catch (error) {
      await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  /** Stands in the name, the folder or the environment of all that is started here. */
  get mark(): string {
    return basename(this.dir);
  }

  async clear(): Promise<void> {
    await this.engine.stop();
    // what a failed round has left running; it was told of already
    for (const id of machineTools.traces(this.mark).keys()) {
      const pid = /^process (\d+)@/.exec(id)?.[1];
      if (pid) process.kill(Number(pid), 'SIGKILL');
    }
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
