// A Docker Engine: asked over its socket (no client program needed), found, or started for as long as we run.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetupError, aptInstall, isDebian, isRoot, onPath, run, say } from './process.mjs';

export const DEFAULT_SOCKET = '/var/run/docker.sock';

/** One request to the engine at `host` (`unix://…` or `tcp://…`). `body` may be a stream; the answer is a stream. */
export function ask(host, method, path, { body, headers = {}, timeoutMs } = {}) {
  return new Promise((answer, reject) => {
    const tls = host.startsWith('tcp://') && process.env.DOCKER_TLS_VERIFY;
    const certs = process.env.DOCKER_CERT_PATH;
    const pem = (name) => (certs ? readFileSync(join(certs, name)) : undefined);
    const url = host.startsWith('tcp://')
      ? new URL(host.replace('tcp:', tls ? 'https:' : 'http:'))
      : undefined;
    const where = url
      ? { host: url.hostname, port: url.port || (tls ? 2376 : 2375) }
      : { socketPath: host.replace(/^unix:\/\//, '') };
    const secure = tls ? { ca: pem('ca.pem'), cert: pem('cert.pem'), key: pem('key.pem') } : {};
    const make = tls ? httpsRequest : httpRequest;
    const request = make({ ...where, ...secure, method, path, headers, agent: false }, answer);
    request.on('error', reject);
    if (timeoutMs) {
      request.setTimeout(timeoutMs, () =>
        request.destroy(new Error(`no answer in ${timeoutMs} ms`)),
      );
    }
    if (body === undefined || typeof body === 'string') request.end(body);
    else body.pipe(request);
  });
}

/** The same, with the whole answer read: `{ status, text }`. */
export async function askText(host, method, path, options) {
  const answer = await ask(host, method, path, options);
  const chunks = [];
  for await (const chunk of answer) chunks.push(chunk);
  return { status: answer.statusCode, text: Buffer.concat(chunks).toString() };
}

export async function askJson(host, method, path, options) {
  const { status, text } = await askText(host, method, path, options);
  if (status >= 300) throw new Error(`engine: ${method} ${path}: ${status} ${text.trim()}`);
  return text ? JSON.parse(text) : undefined;
}

/** The engine's version, or undefined when none answers. */
export async function engineVersion(host) {
  try {
    return (await askJson(host, 'GET', '/version', { timeoutMs: 5_000 })).Version;
  } catch {
    return undefined;
  }
}

export const hasImage = async (host, image) =>
  (await askText(host, 'GET', `/images/${encodeURIComponent(image)}/json`)).status === 200;

/** Pulls an image; gives up after `timeoutMs` (also while no registry can be reached). Returns why it failed, or undefined. */
export async function pullImage(host, image, timeoutMs) {
  const at = image.lastIndexOf(':');
  const query = new URLSearchParams({ fromImage: image.slice(0, at), tag: image.slice(at + 1) });
  const deadline = Date.now() + timeoutMs;
  try {
    const answer = await ask(host, 'POST', `/images/create?${query}`, { timeoutMs });
    let text = '';
    for await (const chunk of answer) {
      text = (text + chunk).slice(-10_000);
      if (Date.now() > deadline) throw new Error(`not here after ${timeoutMs / 1000} s`);
    }
    const last = JSON.parse(text.trim().split('\n').pop() || '{}');
    return last.error ?? (answer.statusCode === 200 ? undefined : last.message);
  } catch (error) {
    return error.message;
  }
}

/** What an unanswered request for an engine ends with. */
const nothingFound = (why) =>
  new SetupError(
    `No Docker Engine: ${why}\n` +
      'Start one (e.g. `sudo systemctl start docker`), or install one (https://docs.docker.com/engine/install/),\n' +
      'or name it in DOCKER_HOST, or run the steps as plain processes of this machine, without isolation:\n' +
      '    npm start -- --executor host',
  );

/**
 * Finds an engine, or starts one that lives as long as we do.
 *
 * In this order: DOCKER_HOST; /var/run/docker.sock; an installed `dockerd`, started on its own socket with
 * everything it keeps below `dataDir`; on Debian or Ubuntu, as root, the package docker.io. Returns
 * `{ host, stop, note, pid }`: `stop(withinMs)` ends what was started here, `note` says what was installed and stays, `pid`
 * is that of a dockerd that was started here.
 */
export async function findEngine(dataDir) {
  const named = process.env.DOCKER_HOST;
  const none = { stop: async () => {}, note: undefined };
  if (named) {
    if (!/^(unix|tcp):/.test(named)) return { host: named, ...none };
    if (await engineVersion(named)) return { host: named, ...none };
    throw nothingFound(`DOCKER_HOST is ${named}, and nothing answers there.`);
  }
  const usual = `unix://${DEFAULT_SOCKET}`;
  if (await engineVersion(usual)) return { host: usual, ...none };
  if (onPath('dockerd')) return { ...(await startEngine(dataDir)), note: undefined };
  if (!isRoot() || !isDebian()) {
    throw nothingFound(`nothing answers at ${DEFAULT_SOCKET}, and dockerd is not installed.`);
  }
  say(
    'No Docker Engine is here. This will install the packages docker.io and iptables (and stays installed).',
  );
  await aptInstall(['docker.io', 'iptables'], 'the steps of builds run in containers');
  const note =
    'The packages docker.io and iptables were installed and stay; `apt-get purge docker.io` removes them.';
  for (let i = 0; i < 20; i++) {
    if (await engineVersion(usual)) return { host: usual, stop: async () => {}, note };
    if (!existsSync('/run/systemd/system')) break;
    await sleep(500);
  }
  return { ...(await startEngine(dataDir)), note };
}

/**
 * Starts `dockerd` with its own socket, data root, exec root, pid file and bridge. An engine whose starter was
 * killed is found by its pid file and taken over. The socket lies in /tmp when the data folder's path is too
 * long for one (108 bytes). `inside`: the words before its command that run it in a network of its own (`nsenter --net=…`); on
 * the machine's it clears the tables of packets that another engine has made there.
 */
export async function startEngine(dataDir, inside = []) {
  const dir = resolve(dataDir, 'docker');
  if (!isRoot())
    throw nothingFound('dockerd is installed but does not run, and only root may start it.');
  mkdirSync(dirname(dir), { recursive: true, mode: 0o700 });
  ownFolder(dir);
  const id = createHash('sha256').update(dir).digest('hex').slice(0, 8);
  const runDir = dir.length < 80 ? dir : `/tmp/impgem-${id}`;
  ownFolder(runDir);
  const host = `unix://${runDir}/docker.sock`;
  const pidFile = join(dir, 'docker.pid');
  const bridge = `impgem-${id}`.slice(0, 15);
  const taken = pidOf(pidFile);
  const stop = async (pid, withinMs) => {
    await endEngine(pid, pidFile, withinMs);
    await run('ip', ['link', 'delete', bridge], { quiet: true, check: false }).catch(() => {});
    await unmountBelow(dir);
    if (runDir !== dir) rmSync(runDir, { recursive: true, force: true });
  };
  if (taken && (await engineVersion(host)))
    return { host, pid: taken, stop: (withinMs) => stop(taken, withinMs) };
  if (taken) await endEngine(taken, pidFile);
  rmSync(pidFile, { force: true });
  say(`Starting dockerd for this farm (${dir}) …`);
  const log = join(dir, 'dockerd.log');
  const fd = openSync(log, 'w');
  const own = ['--data-root', join(dir, 'data'), '--exec-root', join(runDir, 'exec')];
  own.push('--pidfile', pidFile, '-H', host);
  if (inside.length === 0) own.push(await makeBridge(bridge));
  const [file, ...args] = [...inside, onPath('dockerd'), ...own];
  // a session of its own, so that Ctrl-C reaches it through us, after the containers are gone
  const child = spawn(file, args, { detached: true, stdio: ['ignore', fd, fd] });
  closeSync(fd);
  child.on('error', () => {});
  child.unref();
  for (let i = 0; i < 300 && child.exitCode === null && child.pid; i++) {
    if (await engineVersion(host))
      return { host, pid: child.pid, stop: (withinMs) => stop(child.pid, withinMs) };
    await sleep(100);
  }
  const tail = readFileSync(log, 'utf8').trim().split('\n').slice(-5).join('\n');
  if (child.pid) await stop(child.pid);
  throw nothingFound(`dockerd did not start; the end of ${log}:\n${tail}`);
}

/**
 * Makes a folder that only we may enter, or takes one that we have made. Who may write where root's engine has its socket
 * may make root's programs talk to something else: one that somebody else made, or made a link of, is refused.
 */
export function ownFolder(dir) {
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const is = lstatSync(dir);
  const why = is.isSymbolicLink()
    ? 'it is a link'
    : !is.isDirectory()
      ? 'it is no folder'
      : is.uid !== process.getuid()
        ? 'it belongs to another user'
        : (is.mode & 0o022) !== 0
          ? 'others may write into it'
          : undefined;
  if (why) throw nothingFound(`${dir} cannot hold the engine's socket: ${why}. Remove it.`);
  // earlier versions left it open to readers
  if ((is.mode & 0o077) !== 0) chmodSync(dir, 0o700);
}

/** Its own bridge on the first free subnet, so that two engines do not share docker0; none where `ip` is missing. */
async function makeBridge(name) {
  if (!onPath('ip')) return '--bridge=none';
  const { out } = await run('ip', ['-4', 'route'], { capture: true });
  for (let n = 31; n < 250; n++) {
    const net = `10.214.${n}.`;
    if (out.includes(net)) continue;
    await run('ip', ['link', 'add', name, 'type', 'bridge'], { quiet: true, check: false });
    await run('ip', ['address', 'replace', `${net}1/24`, 'dev', name], { quiet: true });
    await run('ip', ['link', 'set', name, 'up'], { quiet: true });
    return `--bridge=${name}`;
  }
  return '--bridge=none';
}

function pidOf(pidFile) {
  if (!existsSync(pidFile)) return undefined;
  const pid = Number(readFileSync(pidFile, 'utf8'));
  try {
    // a pid file outlives a killed engine, and its number may be another program's by now
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(pidFile) ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function endEngine(pid, pidFile, withinMs = 20_000) {
  for (const [signal, waitMs] of [
    ['SIGTERM', withinMs],
    ['SIGKILL', 5_000],
  ]) {
    try {
      process.kill(pid, signal);
    } catch {
      break;
    }
    for (const end = Date.now() + waitMs; Date.now() < end; await sleep(100)) {
      if (!alive(pid)) break;
    }
    if (!alive(pid)) break;
  }
  rmSync(pidFile, { force: true });
}

function alive(pid) {
  try {
    // a zombie has ended
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** An engine leaves its data root mounted (overlay, shm, network namespaces) when containers were running. */
async function unmountBelow(dir) {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[1] ?? '').replaceAll('\\040', ' '))
    .filter((path) => path.startsWith(`${dir}/`));
  for (const path of mounts.toReversed()) {
    await run('umount', ['-l', path], { quiet: true, check: false });
  }
}
