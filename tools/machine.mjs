// What is on this machine, before and after: the full lists of an engine's objects, of mounts and of processes.
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { askJson } from './engine.mjs';

/** Objects that carry this label belong to a farm; its value is the farm's id. */
export const FARM_LABEL = 'impgem.farm';

export function readProcesses() {
  const all = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      // an empty command line is a kernel thread or a process that has ended
      if (command) all.set(`${name}@${rest[19]}`, { pid: name, parent: rest[1], command });
    } catch {
      // ended while we looked
    }
  }
  return all;
}

const farm = (one) => one.Labels?.[FARM_LABEL];

async function readEngine(host) {
  const lists = {
    containers: new Map(),
    volumes: new Map(),
    networks: new Map(),
    images: new Map(),
  };
  if (!host) return lists;
  for (const one of await askJson(host, 'GET', '/containers/json?all=1')) {
    lists.containers.set(one.Id, {
      text: `${one.Names} ${one.Image} (${one.State})`,
      farm: farm(one),
    });
  }
  for (const one of (await askJson(host, 'GET', '/volumes')).Volumes ?? []) {
    lists.volumes.set(one.Name, { text: one.Name, farm: farm(one) });
  }
  for (const one of await askJson(host, 'GET', '/networks')) {
    lists.networks.set(one.Id, { text: one.Name, farm: farm(one) });
  }
  for (const one of await askJson(host, 'GET', '/images/json?all=1')) {
    const tags = (one.RepoTags ?? []).filter((tag) => tag !== '<none>:<none>').sort();
    lists.images.set(`${one.Id} ${tags}`, {
      text: `${tags.join(', ') || 'untagged'} ${one.Id}`,
      farm: farm(one),
    });
  }
  return lists;
}

/** Everything there is now; `host` may be undefined where no engine is. */
export async function snapshot(host) {
  const mounts = new Map();
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n').filter(Boolean)) {
    mounts.set(line, { text: line.split(' ').slice(0, 3).join(' ') });
  }
  return { ...(await readEngine(host)), mounts, processes: readProcesses() };
}

/** The processes from `pid` up to the first. */
function* ancestors(processes, pid) {
  const byPid = new Map([...processes.values()].map((one) => [one.pid, one]));
  for (let one = byPid.get(pid); one; one = byPid.get(one.parent)) yield one;
}

/**
 * What differs, as lines. Objects of farms that were there before (another clone's, on the same engine) come and go
 * as they like, and so do processes that some older process has started; what has lost its starter is ours.
 */
export function differences(before, after) {
  const farms = new Set();
  for (const list of ['containers', 'volumes', 'networks']) {
    for (const { farm } of before[list].values()) if (farm) farms.add(farm);
  }
  const foreign = (one) => one.farm !== undefined && farms.has(one.farm);
  const found = [];
  for (const list of ['containers', 'volumes', 'networks', 'images']) {
    for (const [id, one] of after[list]) {
      if (!before[list].has(id) && !foreign(one)) found.push(`${list}: left over: ${one.text}`);
    }
    for (const [id, one] of before[list]) {
      if (!after[list].has(id) && !foreign(one)) found.push(`${list}: gone: ${one.text}`);
    }
  }
  const neighbours = [...after.containers].filter(([, one]) => foreign(one)).map(([id]) => id);
  for (const [line, one] of after.mounts) {
    // an engine keeps the machine's own network at hand from the first container that uses it
    const engines =
      /\/netns\/default /.test(line) ||
      (/\/(overlay2|netns|containers)\//.test(line) && neighbours.length > 0);
    if (!before.mounts.has(line) && !engines) found.push(`mounts: left over: ${one.text}`);
  }
  const older = new Set([...before.processes.values()].map((one) => one.pid));
  for (const [id, one] of after.processes) {
    if (before.processes.has(id)) continue;
    const chain = [...ancestors(after.processes, one.pid)];
    const started = chain
      .slice(1)
      .some(({ pid }) => pid !== '1' && older.has(pid) && pid !== `${process.pid}`);
    const neighbour = chain.some(({ command }) =>
      neighbours.some((container) => command.includes(container)),
    );
    const ours = chain.some(({ pid }) => pid === `${process.pid}`);
    if (ours || (!started && !neighbour)) {
      found.push(`processes: left over: ${one.pid} ${one.command.slice(0, 150)}`);
    }
  }
  return found;
}

const orNothing = (read) => {
  try {
    return read();
  } catch {
    // ended while we looked
    return '';
  }
};

/**
 * The mounts at `/` of a process: they tell where the files of a container come from. The others do not tell whose
 * it is: whoever has mounts of his own began with a copy of this machine's.
 */
export function rootMounts(mountinfo) {
  const lines = mountinfo.split('\n');
  return lines.filter((line) => line.split(' ')[4] === '/').join('\n');
}

/**
 * Processes that carry `mark` in command, environment or folder, or that live in a container whose file system does;
 * mounts, and files for all programs, that carry it in their name. Keyed by what tells them apart, as lines.
 */
export function traces(mark) {
  const found = new Map();
  const here = readlinkSync('/proc/self/ns/mnt');
  for (const [id, { pid, command }] of readProcesses()) {
    const file = (name) => orNothing(() => readFileSync(`/proc/${pid}/${name}`, 'utf8'));
    const link = (name) => orNothing(() => readlinkSync(`/proc/${pid}/${name}`));
    const contained = () =>
      [here, ''].includes(link('ns/mnt')) ? '' : rootMounts(file('mountinfo'));
    const tells = [command, file('environ'), link('cwd')].some((text) => text.includes(mark));
    if (tells || contained().includes(mark)) {
      found.set(`process ${id}`, `processes: left over: ${pid} ${command.slice(0, 150)}`);
    }
  }
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path = ''] = line.split(' ');
    if (path.includes(mark)) found.set(`mount ${path}`, `mounts: left over: ${path}`);
  }
  for (const folder of new Set([tmpdir(), '/tmp', '/sys/class/net'])) {
    for (const name of orNothing(() => readdirSync(folder))) {
      if (name.includes(mark))
        found.set(`file ${folder}/${name}`, `files: left over: ${folder}/${name}`);
    }
  }
  return found;
}

/** The differences that stay: an engine takes a moment to remove things, a process to end. */
export async function leftOver(before, host, waitMs = 10_000) {
  for (const end = Date.now() + waitMs; ; await sleep(500)) {
    const found = differences(before, await snapshot(host));
    if (found.length === 0 || Date.now() > end) return found;
  }
}
