import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkout, type CheckoutOptions } from './checkout.js';

// A mirror is a cache: whatever happens to it, builds go on. Real git, since its words and habits are what counts.
let home: string;
let origin: string;
let cacheDir: string;
let mirror: string;
/** The commit in the mirror, whose objects lie apart from its pack. */
let base: string;
const lines: string[] = [];

function sh(command: string, cwd = origin): string {
  return execFileSync('sh', ['-e', '-c', command], { cwd, encoding: 'utf8' }).trim();
}

function options(ref?: string, more: Partial<CheckoutOptions> = {}): CheckoutOptions {
  return {
    source: { git: `file://${origin}`, ...(ref === undefined ? {} : { ref }) },
    cacheDir,
    log: (line) => void lines.push(line),
    signal: new AbortController().signal,
    allowLocal: true,
    ...more,
  };
}

/** The commit that was checked out, once its files were read. */
async function built(from: CheckoutOptions): Promise<string> {
  const { revision, tar } = await checkout(from);
  for await (const _ of tar);
  return revision;
}

const anew = (): string | undefined => lines.find((line) => line.includes('made anew'));
const good = (): string => join(home, 'good');

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'impgem-mirror-'));
  origin = join(home, 'origin');
  // As in a developer's clone: a repository lies above the worker's folder.
  execFileSync('git', ['init', '-q', '-b', 'precious', home]);
  sh('git -c user.name=t -c user.email=t@t commit -q --allow-empty -m precious', home);
  cacheDir = join(home, 'mirrors');
  execFileSync('git', ['init', '-q', '-b', 'main', origin]);
  sh(
    'git config user.name t && git config user.email t@t && mkdir d && echo 1 > one && echo 2 > d/two',
  );
  sh('git add -A && git commit -q -m 1 && git tag v1 && git branch side');
  await built(options());
  mirror = join(cacheDir, readdirSync(cacheDir).find((name) => name.endsWith('.git')) ?? '');
  sh('git repack -q -a -d && git pack-refs --all && git commit-graph write --reachable', mirror);
  sh('echo 3 > one && git commit -q -a -m 3');
  await built(options());
  // Git keeps what it fetched as a pack; both kinds of objects shall be there.
  sh('mkdir ../new && mv $(ls -t objects/pack/pack-* | head -3) ../new', mirror);
  sh('git unpack-objects -q < $(ls ../new/*.pack)', mirror);
  base = sh('git rev-parse HEAD');
  cpSync(mirror, good(), { recursive: true });
});

beforeEach(() => {
  lines.length = 0;
  rmSync(mirror, { recursive: true, force: true });
  cpSync(good(), mirror, { recursive: true });
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

function object(what: string): string {
  const id = sh(`git rev-parse ${base}${what}`);
  return `objects/${id.slice(0, 2)}/${id.slice(2)}`;
}

function pack(ending: string): string {
  const name = readdirSync(join(mirror, 'objects/pack')).find((one) => one.endsWith(ending));
  return `objects/pack/${name}`;
}

function write(file: string, text: string): void {
  chmodSync(dirname(join(mirror, file)), 0o700);
  rmSync(join(mirror, file), { recursive: true, force: true });
  writeFileSync(join(mirror, file), text);
}

const half = (file: string): void => {
  chmodSync(join(mirror, file), 0o600);
  truncateSync(join(mirror, file), Math.floor(statSync(join(mirror, file)).size / 2));
};
const gone = (file: string): void => rmSync(join(mirror, file), { recursive: true });
const folder = (file: string): void => {
  rmSync(join(mirror, file), { recursive: true, force: true });
  mkdirSync(join(mirror, file));
};

/** Writes an object of the origin, unchecked; its id. */
const make = (type: string, content: Buffer | string): string =>
  execFileSync('git', ['hash-object', '-w', '--literally', '-t', type, '--stdin'], {
    cwd: origin,
    input: content,
    encoding: 'utf8',
  }).trim();

const tree = (mode: string, name: string): string => {
  const blob = Buffer.from(make('blob', 'x'), 'hex');
  return make('tree', Buffer.concat([Buffer.from(`${mode} ${name}\0`), blob]));
};
const commit = (of: string, date: string): string =>
  make('commit', `tree ${of}\nauthor A <a@b>${date}\ncommitter A <a@b>${date}\n\nm\n`);

describe('a mirror', () => {
  it('is rid of locks and half-written files that a killed git left, at any depth', async () => {
    mkdirSync(join(mirror, 'refs/heads/u'), { recursive: true });
    const left = [
      'HEAD.lock',
      'config.lock',
      'packed-refs.lock',
      'shallow.lock',
      'refs/heads/main.lock',
      'refs/heads/u/b1.lock',
      'refs/tags/v1.lock',
      'objects/info/commit-graph.lock',
      'objects/pack/tmp_pack_x',
      'objects/maintenance.lock',
    ];
    for (const name of left) writeFileSync(join(mirror, name), '');
    sh('echo 4 > one && git commit -q -a -m 4');
    expect(await built(options('main'))).toBe(sh('git rev-parse main'));
    expect(await built(options('side'))).toBe(sh('git rev-parse side'));
    expect(left.filter((name) => existsSync(join(mirror, name)))).toEqual([]);
    expect(anew()).toBeUndefined();
  });

  it.each<[string, () => void]>([
    ['an object that is empty', () => write(object(''), '')],
    ['an object cut short', () => half(object(''))],
    ['an object that is not there', () => gone(object(':one'))],
    ['an object that is another', () => write(object('^{tree}'), 'garbage')],
    ['a folder where an object should be', () => folder(object(''))],
    ['a pack cut short', () => half(pack('.pack'))],
    ['a pack that is not there', () => gone(pack('.pack'))],
    ['an index of a pack that is garbage', () => write(pack('.idx'), 'garbage')],
    ['no objects', () => gone('objects')],
    ['a file where objects should be', () => write('objects', '')],
    ['an empty HEAD', () => write('HEAD', '')],
    ['no HEAD', () => gone('HEAD')],
    ['a HEAD that is a folder', () => folder('HEAD')],
    ['an empty config', () => write('config', '')],
    ['a config that is garbage', () => write('config', '[core\nx = "')],
    ['a config of another format', () => write('config', '[core]\nrepositoryformatversion = 9\n')],
    ['a ref that is empty', () => write('refs/heads/main', '')],
    ['a ref that is garbage', () => write('refs/heads/main', 'garbage\n')],
    [
      'a folder where a ref should be',
      () => (folder('refs/heads/main'), folder('refs/heads/main/x')),
    ],
    ['packed refs cut short', () => half('packed-refs')],
    ['packed refs that are garbage', () => write('packed-refs', '\0\0garbage')],
    ['no refs', () => gone('refs')],
    ['a file where refs should be', () => write('refs', '')],
    ['a commit graph cut short', () => half('objects/info/commit-graph')],
    ['nothing in it', () => readdirSync(mirror).forEach(gone)],
    [
      'a file where it should be',
      () => (rmSync(mirror, { recursive: true }), writeFileSync(mirror, '')),
    ],
    ['a mode that forbids all', () => chmodSync(join(mirror, 'objects'), 0)],
  ])('that is damaged is mended: %s', async (_, damage) => {
    damage();
    const precious = sh('git for-each-ref', home);
    sh('git commit -q --allow-empty -m more');
    expect(await built(options('main'))).toBe(sh('git rev-parse main'));
    // Git looks for a repository in the folders above when it does not find one here.
    expect(sh('git for-each-ref', home)).toBe(precious);
    expect(readdirSync(cacheDir).filter((name) => name.startsWith('gone-'))).toEqual([]);
  });

  it('that is damaged under a commit that needs no network is made anew, too', async () => {
    write(object('^{tree}'), '');
    expect(await built(options(base))).toBe(base);
    expect(anew()).toMatch(/made anew: .*(?:empty|corrupt|unable)/);
  });

  it('is left alone when the remote is to blame', async () => {
    const { ino } = statSync(mirror);
    await expect(checkout(options('nowhere'))).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringContaining('no branch, tag or commit "nowhere"'),
    });
    await expect(checkout(options('f'.repeat(40)))).rejects.toMatchObject({
      code: 'source-unavailable',
      message: expect.stringContaining('not our ref'),
    });
    renameSync(origin, `${origin}-away`);
    try {
      await expect(checkout(options('main'))).rejects.toMatchObject({
        code: 'source-unavailable',
        message: expect.stringContaining('does not appear to be a git repository'),
      });
    } finally {
      renameSync(`${origin}-away`, origin);
    }
    expect(anew()).toBeUndefined();
    expect(statSync(mirror).ino).toBe(ino);
  });

  it('that cannot be kept at all is the fault of the worker, in words that help', async () => {
    rmSync(`${cacheDir}-file`, { force: true });
    writeFileSync(`${cacheDir}-file`, '');
    await expect(checkout(options('main', { cacheDir: `${cacheDir}-file` }))).rejects.toMatchObject(
      {
        code: 'worker-error',
        message: expect.stringContaining('IMPGEM_WORKER_DATA'),
      },
    );
  });

  it('keeps no hostile object, and takes what old histories have', async () => {
    const old = commit(tree('0100644', 'one'), '0 +051800');
    sh(`git update-ref refs/heads/old ${old}`);
    expect(await built(options('old'))).toBe(old);
    for (const name of ['.git', '.GIT', '..', 'git~1', '.g\u200cit']) {
      sh(`git update-ref refs/heads/hostile ${commit(tree('100644', name), ' 1 +0000')}`);
      await expect(checkout(options('hostile'))).rejects.toMatchObject({
        code: 'source-unavailable',
        message: expect.stringMatching(/fsck error|invalid path/),
      });
    }
    expect(anew()).toBeUndefined();
    sh('git update-ref -d refs/heads/hostile');
    expect(await built(options('main'))).toBe(sh('git rev-parse main'));
  });

  it('outlives a cancel while many branches are written', async () => {
    sh(
      'for i in $(seq 400); do echo "create refs/heads/u/b$i HEAD"; done | git update-ref --stdin',
    );
    const cancel = new AbortController();
    const log = (): void => cancel.abort(new Error('enough'));
    await expect(checkout(options('main', { signal: cancel.signal, log }))).rejects.toThrow();
    expect(await built(options('u/b7'))).toBe(sh('git rev-parse main'));
    expect(anew()).toBeUndefined();
    sh('git for-each-ref --format="delete %(refname)" refs/heads/u | git update-ref --stdin');
  });

  it('is used by one process at a time, and whoever waits can be cancelled', async () => {
    const script = 'exec 3>>"$0"; flock -x 3; echo held; read line';
    const holder = spawn('sh', ['-c', script, mirror.replace(/\.git$/, '.lock')]);
    await once(holder.stdout, 'data');
    const ended: string[] = [];
    const waits = built(options('main')).then(() => ended.push('waited'));
    const cancel = new AbortController();
    const cancelled = built(options('main', { signal: cancel.signal }));
    await built(options('main', { cacheDir: join(home, 'other') }));
    cancel.abort(new Error('enough'));
    await expect(cancelled).rejects.toThrow('enough');
    expect(ended).toEqual([]);
    holder.stdin.end('\n');
    await waits;
  });
});
