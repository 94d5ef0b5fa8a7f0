import { FarmError, invariant } from '@impgem/kit';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { LauncherReport, LauncherRequest } from './launcher-messages.js';

type Take = (report: LauncherReport | { tell: 'lost' }) => void;

/** Node's own settings that keep the launcher below 60 MB. */
const SMALL = ['--max-old-space-size=48', '--max-semi-space-size=1', '--no-warnings'];

/** The launcher is a built file, also for tests that run from the sources. */
function program(): string {
  const source = import.meta.url.endsWith('.ts');
  const place = source ? '../../../bundle/launcher.js' : './launcher.js';
  const built = fileURLToPath(new URL(place, import.meta.url));
  if (existsSync(built)) return built;
  throw new FarmError('worker-error', `the launcher ${built} is not built; run npm run build`);
}

/** This end of the launcher process; started at first need, and again when it died. */
export class LauncherClient {
  readonly #takers = new Map<string, Take>();
  #process: ChildProcess | undefined;
  #root: string | undefined;

  /** Starts the launcher for workspaces in `root`, unless it runs. */
  open(root: string): void {
    this.#root = root;
    if (this.#process) return;
    const child = spawn(process.execPath, [...SMALL, program(), root], {
      // Nothing of the worker's environment: its token is none of a step's business.
      env: {},
      cwd: '/',
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    this.#process = child;
    child.on('message', (report: LauncherReport) => this.#takers.get(report.id)?.(report));
    const lost = (): void => {
      if (this.#process !== child) return;
      this.#process = undefined;
      for (const take of this.#takers.values()) take({ tell: 'lost' });
    };
    child.on('error', lost);
    child.on('exit', lost);
    child.unref();
    child.channel?.unref();
  }

  /** Reports about `request.id` go to `take` from here on, until `forget`. */
  start(request: Extract<LauncherRequest, { ask: 'start' }>, take: Take): void {
    invariant(this.#root, 'the launcher was not opened');
    this.open(this.#root);
    this.#takers.set(request.id, take);
    this.#hold();
    this.ask(request);
  }

  ask(request: LauncherRequest): void {
    this.#process?.send(request, (error) => {
      if (error) this.#takers.get(request.id)?.({ tell: 'lost' });
    });
  }

  forget(id: string): void {
    this.#takers.delete(id);
    this.#hold();
  }

  /** The launcher ends by itself once its last step has. */
  async close(): Promise<void> {
    const child = this.#process;
    if (!child) return;
    this.#process = undefined;
    child.ref();
    const gone = new Promise<void>((resolve) => void child.once('exit', () => resolve()));
    if (child.connected) child.disconnect();
    await gone;
  }

  /** Lets the launcher go on alone, until its last step has ended. */
  leave(): void {
    const child = this.#process;
    this.#process = undefined;
    if (child?.connected) child.disconnect();
  }

  /** The channel keeps this process alive only while a step runs. */
  #hold(): void {
    if (this.#takers.size > 0) this.#process?.channel?.ref();
    else this.#process?.channel?.unref();
  }
}
