import type { BuildDetail, Step } from '@impgem/client';
import type { Command } from 'commander';
import { connect, findBuild, titleOf, type Cli } from '../cli.js';
import { ago, duration, harmless, size, table, type Terminal } from '../terminal.js';

export function addShow(program: Command, { terminal }: Cli): void {
  program
    .command('show')
    .description('show a build: its steps, artifacts and properties')
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .action(async (name: string, _: object, command: Command) => {
      const { client, json } = connect(command);
      const build = await client.builds.get(await findBuild(client, name));
      if (json) return terminal.json(build);
      show(terminal, build);
    });
}

function show(terminal: Terminal, build: BuildDetail): void {
  const { print, colour } = terminal;
  const state = build.result ?? build.state;
  print(
    `${colour.bold(titleOf(build))} ${state}${build.reason ? `: ${harmless(build.reason.message)}` : ''}`,
  );
  print(
    `build ${build.id}, request ${build.request}, attempt ${build.attempt}, farm file ${build.farmVersion}`,
  );
  print(
    `asked for by ${harmless(build.submittedBy)} ${ago(build.createdAt)}, worker ${build.worker ?? '-'}`,
  );
  for (const [name, value] of Object.entries(build.properties))
    print(harmless(`${name} = ${value}`));
  print('');
  table(terminal, ['', 'step', 'result', 'took', 'log', 'why'], build.steps.map(stepRow));
  if (build.artifacts.length === 0) return;
  print('');
  const rows = build.artifacts.map(({ path, size: bytes, sha256 }) => [path, size(bytes), sha256]);
  table(terminal, ['artifact', 'size', 'sha256'], rows);
}

function stepRow(step: Step): string[] {
  const { startedAt, finishedAt, reason, exitCode } = step;
  const took =
    startedAt && finishedAt ? duration(Date.parse(finishedAt) - Date.parse(startedAt)) : '-';
  const why = reason?.message ?? (exitCode ? `exit code ${exitCode}` : '');
  return [
    String(step.index),
    step.name,
    step.result ?? step.state,
    took,
    size(step.log.bytes),
    why,
  ];
}
