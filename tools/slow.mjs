#!/usr/bin/env node
// Runs a command on a slow machine: this one, with a tenth of two processors (root on Linux only).
//   node tools/slow.mjs [--processors 0.2] [--own-engine] -- COMMAND [ARGUMENTS…]
// e.g. node tools/slow.mjs --own-engine -- npm test
// The command and all it starts live in a cgroup with a quota, containers of an engine that it starts included:
// it sees that cgroup as the root. `--own-engine` hides the engine that the machine has, so that one is started. It has a list of processes of
// its own, and what is left of them ends with it. The processor seconds that all of it used come last.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DEFAULT_SOCKET } from './engine.mjs';
import { isRoot, onPath, say } from './process.mjs';

const PERIOD_US = 100_000;

/** The mounts of cgroups: of version 2, or of version 1 those that count and limit processors. */
function hierarchies() {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const all = mounts.map((line) => line.split(' '));
  const v1 = all.filter(
    ([, , type, options]) => type === 'cgroup' && /\bcpu(acct)?\b/.test(options),
  );
  const v2 = all.filter(([, , type]) => type === 'cgroup2');
  return (v1.length ? v1 : v2).map(([, path, type, options]) => {
    const words = options.split(',').filter((word) => /^cpu(acct)?$/.test(word));
    return {
      path,
      type,
      options: words.join(','),
      limits: type === 'cgroup2' || words.includes('cpu'),
    };
  });
}

/** Makes the group in each of them; returns their folders. */
function makeGroups(name, quotaUs) {
  return hierarchies().map((hierarchy) => {
    const folder = join(hierarchy.path, name);
    const { type, limits } = hierarchy;
    if (type === 'cgroup2') writeFileSync(join(hierarchy.path, 'cgroup.subtree_control'), '+cpu');
    mkdirSync(folder);
    if (limits && type === 'cgroup2')
      writeFileSync(join(folder, 'cpu.max'), `${quotaUs} ${PERIOD_US}`);
    if (limits && type === 'cgroup') {
      writeFileSync(join(folder, 'cpu.cfs_period_us'), `${PERIOD_US}`);
      writeFileSync(join(folder, 'cpu.cfs_quota_us'), `${quotaUs}`);
      // whatever else runs here, it gets its share
      writeFileSync(join(folder, 'cpu.shares'), '100000');
    }
    return { ...hierarchy, folder };
  });
}

/** Processor seconds of all that ever ran in the groups. */
function usedSeconds(groups) {
  for (const { folder } of groups) {
    const v1 = join(folder, 'cpuacct.usage');
    if (existsSync(v1)) return Number(readFileSync(v1, 'utf8')) / 1e9;
    const v2 = join(folder, 'cpu.stat');
    const usec = /^usage_usec (\d+)/m.exec(existsSync(v2) ? readFileSync(v2, 'utf8') : '');
    if (usec) return Number(usec[1]) / 1e6;
  }
  return Number.NaN;
}

/** What the shell does between the group and the command. In version 2 nothing may run beside a group's own groups. */
const JOIN = (groups) =>
  groups.map(({ folder }) => `echo $$ >'${folder}/cgroup.procs'`).join('\n') +
  '\nexec unshare --cgroup --mount --pid --fork --kill-child --mount-proc sh -euc "$0" "$@"';
const INSIDE = (groups, hidden) =>
  [
    ...groups.map(({ path, type, options }) =>
      type === 'cgroup2'
        ? `umount -l '${path}'; mount -t cgroup2 cgroup2 '${path}'; mkdir '${path}/run'; echo 1 >'${path}/run/cgroup.procs'; echo $$ >'${path}/run/cgroup.procs'`
        : `umount -l '${path}'; mount -t cgroup -o ${options} cgroup '${path}'`,
    ),
    ...(hidden ? [`mount --bind /dev/null '${hidden}'`] : []),
    // not in its place: the first process of a list is the one that reaps
    '"$0" "$@"; exit',
  ].join('\n');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    processors: { type: 'string', default: '0.2' },
    'own-engine': { type: 'boolean', default: false },
  },
});
const quotaUs = Math.round(Number(values.processors) * PERIOD_US);
if (!positionals.length || !(quotaUs >= 1_000) || !isRoot() || !onPath('unshare')) {
  say(
    'as root on Linux: node tools/slow.mjs [--processors 0.2] [--own-engine] -- COMMAND [ARGUMENTS…]',
  );
  process.exit(2);
}
const groups = makeGroups(`impgem-slow-${process.pid}`, quotaUs);
const hidden = values['own-engine'] && existsSync(DEFAULT_SOCKET) ? DEFAULT_SOCKET : undefined;
const began = Date.now();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
const { status } = spawnSync('sh', ['-euc', JOIN(groups), INSIDE(groups, hidden), ...positionals], {
  stdio: 'inherit',
});
const seconds = ((Date.now() - began) / 1000).toFixed(0);
say(
  `${seconds} s, ${usedSeconds(groups).toFixed(1)} processor seconds, ${values.processors} processors, exit ${status}`,
);
for (const { folder } of groups) {
  try {
    rmdirSync(folder);
  } catch (error) {
    say(`${folder} stays: ${error.message}`);
  }
}
process.exitCode = status ?? 1;
