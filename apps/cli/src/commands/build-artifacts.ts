import { cutStart } from '@impgem/kit';
import { every, type Artifact, type Client } from '@impgem/client';
import { Presets, SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { connect, findBuild, type Cli } from '../cli.js';
import { download, downloadArchive } from '../download.js';
import { UsageError } from '../exit-codes.js';
import { harmless, size, table, type Terminal } from '../terminal.js';

export function addArtifacts(program: Command, { terminal, signal }: Cli): void {
  program
    .command('artifacts')
    .description('list the artifacts of a build, or fetch them')
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .option(
      '-d, --download <folder>',
      'fetch them into this folder; each is checked by its SHA-256',
    )
    .option('-a, --archive <file>', 'fetch them as one file, .zip or .tar by its name')
    .action(async (name: string, options: Options, command: Command) => {
      const { client, json } = connect(command);
      const format = options.archive === undefined ? undefined : formatOf(options.archive);
      const id = await findBuild(client, name);
      if (options.archive !== undefined && format !== undefined) {
        const bytes = await downloadArchive(client, id, format, options.archive, signal);
        if (json) terminal.json({ file: options.archive, size: bytes });
        else terminal.print(options.archive);
        return terminal.say(`all artifacts of the build so far, ${size(bytes)}`);
      }
      const artifacts: Artifact[] = [];
      for await (const artifact of every((after) =>
        client.builds.artifacts(id, after === undefined ? {} : { after }),
      ))
        artifacts.push(artifact);
      if (options.download !== undefined)
        return fetchAll(terminal, client, id, artifacts, options.download, { signal, json });
      if (json) return terminal.json(artifacts);
      const rows = artifacts.map((a) => [
        a.path,
        size(a.size),
        a.sha256,
        client.address.artifact(id, a.path),
      ]);
      table(terminal, ['path', 'size', 'sha256', 'address'], rows);
    });
}

interface Options {
  download?: string;
  archive?: string;
}

function formatOf(file: string): 'zip' | 'tar' {
  const format = /\.(zip|tar)$/.exec(file)?.[1];
  if (format === 'zip' || format === 'tar') return format;
  throw new UsageError(`${file}: give the archive a name that ends in .zip or .tar`);
}

async function fetchAll(
  terminal: Terminal,
  client: Client,
  build: number,
  artifacts: Artifact[],
  folder: string,
  { signal, json }: { signal: AbortSignal; json: boolean },
): Promise<void> {
  const total = artifacts.reduce((sum, { size }) => sum + size, 0);
  const bar = terminal.talkTty
    ? new SingleBar({ clearOnComplete: true, hideCursor: true, format }, Presets.shades_classic)
    : undefined;
  bar?.start(Math.max(total, 1), 0, { of: size(total), file: '' });
  const files: object[] = [];
  try {
    for (const artifact of artifacts) {
      bar?.update({ file: cutStart(harmless(artifact.path), 40) });
      const onBytes = (bytes: number) => bar?.increment(bytes);
      const file = await download(client, build, artifact, folder, { signal, onBytes });
      files.push({ path: artifact.path, file, sha256: artifact.sha256 });
      if (!json && !bar) terminal.print(file);
    }
  } finally {
    bar?.stop();
  }
  if (json) terminal.json(files);
  else if (bar) for (const { file } of files as { file: string }[]) terminal.print(file);
  const count = `${artifacts.length} artifact${artifacts.length === 1 ? '' : 's'}`;
  terminal.say(`${count}, ${size(total)}, each with the right SHA-256`);
}

const format = '{bar} {percentage}% of {of} {file}';
