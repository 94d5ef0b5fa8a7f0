/** Parts of the workspace's tools, and of the built master, that chaos works with: as they are, by their path. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { IncomingMessage } from 'node:http';
import { ROOT } from '../program.js';

interface EngineTools {
  startEngine(
    dataDir: string,
    inside?: readonly string[],
  ): Promise<{ host: string; stop(): Promise<void> }>;
  findEngine(dataDir: string): Promise<{ host: string; stop(): Promise<void> }>;
  engineVersion(host: string): Promise<string | undefined>;
  hasImage(host: string, image: string): Promise<boolean>;
  ask(
    host: string,
    method: string,
    path: string,
    options?: { body?: NodeJS.ReadableStream },
  ): Promise<IncomingMessage>;
  askJson<Answer>(host: string, method: string, path: string): Promise<Answer>;
}

interface ImageTools {
  QUICK_START_IMAGE: string;
  ensureImage(host: string, image: string): Promise<'here' | 'pulled' | 'made'>;
}

/** All that is on the machine; `differences` tells two of them apart, in lines. */
export type Snapshot = Record<
  'containers' | 'volumes' | 'networks' | 'images' | 'mounts' | 'processes',
  Map<string, { text: string }>
>;

interface MachineTools {
  snapshot(host: string | undefined): Promise<Snapshot>;
  differences(before: Snapshot, after: Snapshot): string[];
  traces(mark: string): Map<string, string>;
}

/** See apps/master/src/platform/database/embedded-postgres.ts. */
export interface Postgres {
  url: string;
  pid: number;
  revive(): Promise<void>;
  isRunning(): boolean;
  stop(): Promise<boolean>;
}

interface PostgresModule {
  startEmbeddedPostgres(options: { folder: string }): Promise<Postgres>;
}

const load = async <Module>(path: string): Promise<Module> =>
  (await import(pathToFileURL(join(ROOT, path)).href)) as Module;

export const engineTools = await load<EngineTools>('tools/engine.mjs');
export const imageTools = await load<ImageTools>('tools/images.mjs');
export const machineTools = await load<MachineTools>('tools/machine.mjs');
export const { startEmbeddedPostgres } = await load<PostgresModule>(
  'apps/master/dist/platform/database/embedded-postgres.js',
);
