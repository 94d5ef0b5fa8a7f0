// Ends by force what a broken-off run of tests has started: processes, mounts and links of this machine, objects of an engine.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { askJson, askText } from './engine.mjs';
import { FARM_LABEL, readProcesses, traces } from './machine.mjs';
import { run } from './process.mjs';

/** Half an installed package is worse than a program that lives on for a moment. */
const PATIENT = /^(\S*\/)?(apt-get|dpkg)\b/;
/** Of docker-compose: the project, which tests name for their process. */
const PROJECT_LABEL = 'com.docker.compose.project';

/** The processes that we have started, as long as their parents live, and by `mark` those of whose parents we know nothing. */
function ours(mark, spared) {
  const processes = [...readProcesses().values()];
  const found = new Set([`${process.pid}`]);
  // parents may have higher numbers than their children
  for (let size = 0; size !== found.size;) {
    size = found.size;
    for (const { pid, parent } of processes)
      if (found.has(parent) && pid !== `${spared}`) found.add(pid);
  }
  const marked = new Set(
    [...traces(mark).keys()].map((key) => /^process (\d+)@/.exec(key)?.[1]).filter(Boolean),
  );
  return processes.filter(
    ({ pid, command }) =>
      pid !== `${process.pid}` && (found.has(pid) || marked.has(pid)) && !PATIENT.test(command),
  );
}

/**
 * Kills our descendants and all that carry `mark` (the temporary folder of the run) in environment, command or folder,
 * until none lives, and unmounts what is mounted below it. An engine of ours can be `spared` with its children, to be asked
 * to stop. Returns what they were, as `{ pid, command }`.
 */
export async function endProcesses(mark, { spared, withinMs = 5_000 } = {}) {
  const ended = new Map();
  for (const end = Date.now() + withinMs; ; await sleep(50)) {
    const found = ours(mark, spared);
    for (const one of found) {
      ended.set(one.pid, one);
      try {
        process.kill(Number(one.pid), 'SIGKILL');
      } catch {
        // it has ended
      }
    }
    if (found.length === 0 || Date.now() > end) break;
  }
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[1] ?? '').replaceAll('\\040', ' '))
    .filter((path) => path.startsWith(`${mark}/`));
  for (const path of mounts.toReversed())
    await run('umount', ['-l', path], { quiet: true, check: false });
  const bridges = [...ended.values()].map(({ command }) => / --bridge=(\S+)/.exec(command)?.[1]);
  for (const bridge of new Set(bridges.filter(Boolean)))
    await run('ip', ['link', 'delete', bridge], { quiet: true, check: false }).catch(() => {});
  return [...ended.values()];
}

/** The farms of workers below a folder, by their credentials, and those that tests have made up (`testIdentity`). */
function farmsBelow(folder) {
  const farms = new Set();
  for (const name of readdirSync(folder, { recursive: true })) {
    const made = /^farms\/([^/]+)$/.exec(name);
    if (made) farms.add(made[1]);
    if (!name.endsWith('credential.json')) continue;
    try {
      farms.add(JSON.parse(readFileSync(join(folder, name), 'utf8')).farm);
    } catch {
      // half written
    }
  }
  return farms;
}

/**
 * Removes from an engine what belongs to farms of `folder`, and to projects named for one of the processes that were
 * ended; all there is where the engine is ours alone. Returns how much it was.
 */
export async function endEngineObjects(host, folder, ended, alone = false) {
  const farms = farmsBelow(folder);
  const pids = new Set(ended.map(({ pid }) => pid));
  const own = ({ Labels }) =>
    alone ||
    farms.has(Labels?.[FARM_LABEL]) ||
    pids.has(/^impgem-e2e-(\d+)$/.exec(Labels?.[PROJECT_LABEL] ?? '')?.[1]);
  const remove = async (path) => askText(host, 'DELETE', path).catch(() => undefined);
  const all = async (path) => (await askJson(host, 'GET', path).catch(() => [])) ?? [];
  const containers = (await all('/containers/json?all=1')).filter(own);
  await Promise.all(containers.map(({ Id }) => remove(`/containers/${Id}?force=1&v=1`)));
  const networks = (await all('/networks')).filter(own);
  const volumes = ((await all('/volumes')).Volumes ?? []).filter(own);
  await Promise.all([
    ...networks.map(({ Id }) => remove(`/networks/${Id}`)),
    ...volumes.map(({ Name }) => remove(`/volumes/${Name}?force=1`)),
  ]);
  return [...containers, ...networks, ...volumes].length;
}
