import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { fileOf } from './launcher-messages.js';
import type { LauncherRequest, ProcessExit, ProcessNote } from './launcher-messages.js';
import { OutputCopy } from './output-copy.js';
import type { Pipe } from './pipes.js';
import { startOf } from './process-id.js';

export type Start = Extract<LauncherRequest, { ask: 'start' }>;

export interface StepListener {
  started(pid: number): void;
  /** Also when it could not be started. What it wrote is in its files, and the exit, where the disk took it. */
  ended(exit: ProcessExit): void;
  /** All pipes are closed: nobody is left who could write. */
  closed(): void;
}

const STREAMS = ['stdout', 'stderr'] as const;
const SHELL = '/bin/sh';

/** A step as the launcher has it: its processes, the pipes that they write to, and its files. */
export class LaunchedStep {
  readonly #notes: number;
  readonly #copies: OutputCopy[] = [];
  #open = 0;
  #child: ChildProcess | undefined;
  #grace: NodeJS.Timeout | undefined;
  #lost: ProcessExit['lost'];
  #over = false;
  readonly #writers: readonly number[];

  /**
   * Takes two pipes over. Throws when the step is not to run: another worker has taken it up and wants it not to, or
   * the disk takes no file.
   */
  constructor(
    private readonly request: Start,
    pipes: readonly Pipe[],
    private readonly listener: StepListener,
  ) {
    const files: number[] = [];
    try {
      for (const name of ['process', ...STREAMS] as const)
        files.push(openSync(fileOf(request.files, name), name === 'process' ? 'ax' : 'a', 0o600));
    } catch (error) {
      for (const { reader, writer } of pipes) files.push(reader, writer);
      for (const file of files) closeSync(file);
      throw error;
    }
    const [notes = -1, ...outputs] = files;
    this.#notes = notes;
    pipes.forEach(({ reader }, at) => this.#copy(reader, outputs[at] ?? -1));
    this.#writers = pipes.map(({ writer }) => writer);
  }

  /** Starts it, once; the listener hears how that went. */
  start(): void {
    try {
      this.#spawn();
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException);
    } finally {
      // From here on the step alone holds them.
      for (const file of this.#writers) closeSync(file);
    }
  }

  /** TERM to its group, after `graceMs` KILL; at once when that is 0. */
  stop(graceMs: number): void {
    this.#signal(graceMs > 0 ? 'SIGTERM' : 'SIGKILL');
    this.#signal('SIGCONT');
    if (graceMs > 0) this.#grace ??= setTimeout(() => this.#signal('SIGKILL'), graceMs);
  }

  /** Reads no more of its output for now; it waits as soon as its pipes are full. */
  hold(): void {
    for (const copy of this.#copies) copy.hold();
  }

  release(): void {
    for (const copy of this.#copies) copy.release();
  }

  /** Whoever writes still is told so by the system from here on. */
  close(): void {
    for (const copy of this.#copies) copy.close();
  }

  #copy(reader: number, file: number): void {
    this.#open++;
    const lost = ({ code = 'unknown', message }: NodeJS.ErrnoException): void => {
      this.#lost ??= { code, message };
      // What cannot be kept is not worth running on for.
      this.#signal('SIGKILL');
    };
    const closed = (): void => {
      if (--this.#open === 0) this.listener.closed();
    };
    this.#copies.push(new OutputCopy(reader, file, lost, closed));
  }

  #spawn(): void {
    const { run, cwd, env } = this.request;
    // A session and group of its own.
    const child = spawn(SHELL, ['-e', '-c', run], {
      cwd,
      env,
      detached: true,
      stdio: ['ignore', ...this.#writers],
    });
    this.#child = child;
    child.once('error', (error) => this.#fail(error));
    const { pid } = child;
    if (pid === undefined) return;
    child.once('exit', (code, signal) => this.#exit({ code, signal }));
    const own = { pid: process.pid, start: startOf(process.pid) ?? '' };
    try {
      this.#note({ pid, start: startOf(pid) ?? '', launcher: own });
    } catch (error) {
      this.#signal('SIGKILL');
      throw error;
    }
    this.listener.started(pid);
  }

  #exit(exit: ProcessExit): void {
    // As in a container: with the main process its children end.
    this.#signal('SIGKILL');
    clearTimeout(this.#grace);
    for (const copy of this.#copies) copy.end();
    const [stdout = 0, stderr = 0] = this.#copies.map((copy) => copy.wrote);
    const wrote = { stdout, stderr };
    this.#end({ ...exit, wrote, ...(this.#lost ? { lost: this.#lost } : {}) });
  }

  #fail({ code = 'unknown', message }: NodeJS.ErrnoException): void {
    this.close();
    this.#end({ code: null, signal: null, failed: { code, message } });
  }

  #end(exit: ProcessExit): void {
    if (this.#over) return;
    this.#over = true;
    try {
      if (exit.failed) this.#note();
      this.#note(exit);
    } catch {
      // A full disk, say; who listens is told all the same.
    }
    closeSync(this.#notes);
    this.listener.ended(exit);
  }

  #note(what?: ProcessNote | ProcessExit): void {
    writeSync(this.#notes, `${what ? JSON.stringify(what) : ''}\n`);
  }

  /** The whole process group; one that is gone already is fine. */
  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined || this.#over) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // Gone.
    }
  }
}
