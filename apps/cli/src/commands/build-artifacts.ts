import { cutStart, FarmError } from '@impgem/kit';
import { every, type Artifact } from '@impgem/client';
import { Presets, SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { connect, findBuild, type Cli } from '../cli.js';
import { downloadArchive, Downloads, type DownloadOptions } from '../download.js';
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
    .option('-f, --force', 'replace files that are there already')
    .action(async (name: string, options: Options, command: Command) => {
      const { client, json } = connect(command);
      const format = options.archive === undefined ? undefined : formatOf(options.archive);
      const id = await findBuild(client, name);
      const how: DownloadOptions = { signal, force: options.force ?? false };
      if (options.archive !== undefined && format !== undefined) {
        const bytes = await downloadArchive(client, id, format, options.archive, how);
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
        return fetchAll(
          terminal,
          new Downloads(client, id, options.download, how),
          artifacts,
          json,
        );
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
  force?: boolean;
}

function formatOf(file: string): 'zip' | 'tar' {
  const format = /\.(zip|tar)$/.exec(file)?.[1];
  if (format === 'zip' || format === 'tar') return format;
  throw new UsageError(`${file}: give the archive a name that ends in .zip or .tar`);
}

/** What concerns one file, or its name on this system: the others are fetched all the same. */
const OF_ONE_FILE = ['ENAMETOOLONG', 'EINVAL', 'EILSEQ', 'EISDIR', 'ENOTDIR', 'EEXIST', 'EACCES'];

function isOfOneFile(error: unknown): error is Error {
  if (error instanceof FarmError) return error.code === 'artifact-refused';
  return OF_ONE_FILE.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Files in a message, at most; the rest is counted. */
const NAMED = 10;

async function fetchAll(
  terminal: Terminal,
  downloads: Downloads,
  artifacts: Artifact[],
  json: boolean,
): Promise<void> {
  const total = artifacts.reduce((sum, { size }) => sum + size, 0);
  const bar = terminal.talkTty
    ? new SingleBar({ clearOnComplete: true, hideCursor: true, format }, Presets.shades_classic)
    : undefined;
  bar?.start(Math.max(total, 1), 0, { of: size(total), file: '' });
  const files: { path: string; file: string; sha256: string }[] = [];
  const problems: string[] = [];
  try {
    for (const artifact of artifacts) {
      bar?.update({ file: cutStart(harmless(artifact.path), 40) });
      const { path, sha256 } = artifact;
      try {
        const file = await downloads.fetch(artifact, (bytes) => bar?.increment(bytes));
        files.push({ path, file, sha256 });
        if (!json && !bar) terminal.print(file);
      } catch (error) {
        if (!isOfOneFile(error)) throw error;
        problems.push(error.message);
      }
    }
  } finally {
    bar?.stop();
  }
  if (json) terminal.json(files);
  else if (bar) for (const { file } of files) terminal.print(file);
  const count = `${files.length} artifact${files.length === 1 ? '' : 's'}`;
  if (problems.length === 0)
    return terminal.say(`${count}, ${size(total)}, each with the right SHA-256`);
  const more = problems.length - NAMED;
  throw new FarmError(
    'artifact-refused',
    [
      `${problems.length} of ${artifacts.length} artifacts were not fetched:`,
      ...problems.slice(0, NAMED),
      ...(more > 0 ? [`and ${more} more`] : []),
    ].join('\n'),
  );
}

const format = '{bar} {percentage}% of {of} {file}';
