#!/usr/bin/env node
// docs/configuration.md, made from the settings that master and worker really read.
//   node tools/configuration.mjs --write    writes it
//   node tools/configuration.mjs --check    ends 1 when it differs (needs built programs)
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'prettier';
import { parseSync } from 'oxc-parser';
import { root, say } from './process.mjs';

const page = join(root, 'docs/configuration.md');

const table = (head, rows) =>
  [head, head.map(() => '---'), ...rows]
    .map((row) => `| ${row.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');

/** 2147483648 → 2 GiB; numbers that are not whole units stay as they are. */
function inUnits(value) {
  for (const [unit, size] of [
    ['GiB', 1024 ** 3],
    ['MiB', 1024 ** 2],
    ['KiB', 1024],
  ]) {
    if (value >= size && value % size === 0) return `${value / size} ${unit}`;
  }
  return value.toLocaleString('en');
}

/** The members of an interface with the comment before each: name → text. */
function membersOf(file, name) {
  const text = readFileSync(join(root, file), 'utf8');
  const { program, comments } = parseSync(file, text);
  const declared = program.body
    .map((statement) => statement.declaration ?? statement)
    .find((one) => one.type === 'TSInterfaceDeclaration' && one.id.name === name);
  return Object.fromEntries(
    declared.body.body.map((member) => {
      const before = comments.filter((comment) => comment.end <= member.start).at(-1);
      return [member.key.name, (before?.value ?? '').replace(/^\*|\n\s*\*/g, ' ').trim()];
    }),
  );
}

async function masterPart() {
  const { SETTINGS } = await import('../apps/master/dist/platform/config.js');
  const { LIMITS } = await import('../apps/master/dist/platform/limits.js');
  const limits = membersOf('apps/master/src/platform/limits.ts', 'Limits');
  return `## Master

From the environment. An unknown variable that begins with \`IMPGEM_\` is an error that names the nearest one.

${table(
  ['variable', 'meaning', 'default'],
  SETTINGS.map(({ name, meaning, default: otherwise }) => [
    `\`${name}\``,
    meaning,
    `\`${otherwise}\``,
  ]),
)}

### Limits of the master

Fixed; hitting one is an error with a code.

${table(
  ['limit', 'of what', 'value'],
  Object.entries(LIMITS).map(([name, value]) => [`\`${name}\``, limits[name], inUnits(value)]),
)}`;
}

function shown(kind, value) {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return '—';
  if (kind === 'size') return inUnits(value);
  if (kind === 'flag') return value ? '1' : '0';
  return `\`${value}\``;
}

async function workerPart() {
  const { SETTINGS, DEFAULTS } = await import('../apps/worker/dist/config.js');
  const rows = SETTINGS.map(({ key, env, kind, text }) => [
    `\`${env}\``,
    `\`${key}\``,
    text,
    key === 'workerName' ? "the host's name" : shown(kind, DEFAULTS[key]),
  ]);
  return `## Worker

From the environment, or from \`worker.yml\` in the worker's data folder (\`IMPGEM_WORKER_DATA\`, \`./.impgem/worker\` by default);
the environment wins. A data folder that is found below the current folder counts only when a worker made it (a file \`made-here\` in it
proves that): one that you made or moved there is named once by its whole path. Sizes are written like \`512MiB\`, lists with commas, flags as \`1\` or \`0\`.

${table(['variable', 'in worker.yml', 'meaning', 'default'], rows)}`;
}

const CLIENT = `## Command line

Flags go before the environment, that before the farm that \`impgem up\` runs in the current folder, and that before
\`~/.config/impgem/client.json\` (\`{"url": "…", "token": "…"}\`). The file of the current folder counts when this user's \`impgem up\` made
it and it leads to this machine, the other when it is this user's or root's; what is passed over is said with the reason.

${table(
  ['variable', 'flag', 'meaning', 'default'],
  [
    ['`IMPGEM_URL`', '`--url`', 'Address of the master.', '`http://127.0.0.1:8010`'],
    [
      '`IMPGEM_TOKEN`',
      '`--token`',
      'API token. Better in the environment than on a command line.',
      '—',
    ],
    ['`NO_COLOR`', '', 'No colours.', '—'],
  ],
)}`;

async function configurationPage() {
  const text = `# Configuration

<!-- Made by tools/configuration.mjs from the settings that the programs read; do not edit. -->

Everything is checked at start: one error for each bad key, and nothing starts half-configured.

${await masterPart()}

${await workerPart()}

${CLIENT}
`;
  return format(text, { parser: 'markdown', printWidth: 100 });
}

const wanted = await configurationPage();
if (process.argv.includes('--write')) writeFileSync(page, wanted);
else if (readFileSync(page, 'utf8') !== wanted) {
  say('docs/configuration.md differs from the settings: node tools/configuration.mjs --write');
  process.exitCode = 1;
}
