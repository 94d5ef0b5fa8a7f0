/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { PassThrough } from 'node:stream';
import type { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import tar from 'tar-stream';
import type { Workspace, WorkspaceFile } from '../executor.js';
import type { Stage } from './stage.js';

async function listing(workspace: Workspace): Promise<Map<string, WorkspaceFile>> {
  const files = new Map<string, WorkspaceFile>();
  for await (const file of workspace.files()) files.set(file.path, file);
  return files;
}

function tarOf(fill: (pack: tar.Pack) => void): Readable {
  const pack = tar.pack();
  fill(pack);
  pack.finalize();
  return pack as unknown as Readable;
}

/** The workspace: shared by the steps, read by the farm, never left by a link. */
export function describeWorkspace(stage: Stage): void {
  const { dialect } = stage.subject;

  describe('workspace', () => {
    it('begins empty and is shared by the steps of its build only', async () => {
      const [one, other] = [await stage.workspace(), await stage.workspace()];
      expect([...(await listing(one)).keys()]).toEqual([]);
      await stage.play(dialect.writeFile('note', 'from step one'), {}, one);
      const { stdout } = await stage.play(dialect.cat('note'), {}, one);
      expect(stdout.toString()).toBe('from step one\n');
      expect((await listing(other)).size).toBe(0);
    });

    it('takes a tar, and gives its files back', async () => {
      const workspace = await stage.workspace();
      const content = Buffer.from([0, 1, 2, 255]);
      await workspace.unpack(
        tarOf((pack) => {
          pack.entry({ name: 'src', type: 'directory', mode: 0o755 });
          pack.entry({ name: 'src/data.bin', mode: 0o640 }, content);
          pack.entry({ name: 'src/run.sh', mode: 0o755 }, 'echo hi\n');
          pack.entry({ name: 'alias', type: 'symlink', linkname: 'src/data.bin' });
        }),
      );
      const files = await listing(workspace);
      expect(files.get('src/data.bin')).toEqual({
        path: 'src/data.bin',
        type: 'file',
        size: 4,
        mode: 0o640,
      });
      expect(files.get('src/run.sh')?.mode).toBe(0o755);
      expect(files.get('alias')?.type).toBe('link');
      expect(await buffer(await workspace.read('src/data.bin'))).toEqual(content);
      const { stdout } = await stage.play(dialect.cat('src/run.sh'), {}, workspace);
      expect(stdout.toString()).toBe('echo hi\n');
    });

    it('keeps times of modification, and takes links that lead anywhere', async () => {
      const { look } = dialect;
      const workspace = await stage.workspace();
      const mtime = new Date('2001-02-03T04:05:06Z');
      const outward = [
        { path: 'd/up', target: '../../../etc/x', mtime },
        { path: 'up', target: '..', mtime },
      ];
      await workspace.unpack(
        tarOf((pack) => {
          pack.entry({ name: 'd', type: 'directory', mode: 0o755, mtime });
          pack.entry({ name: 'd/file', mtime }, 'x');
          pack.entry({ name: 'abs', type: 'symlink', linkname: '/etc/x', mtime });
        }),
        outward,
      );
      const files = await listing(workspace);
      for (const path of ['d/up', 'up', 'abs']) expect(files.get(path)?.type).toBe('link');
      if (look === undefined) return;
      const wanted = ['d/file', 'abs', 'up', 'd/up'].map((path) => look(path)).join('; ');
      const { stdout } = await stage.play(wanted, {}, workspace);
      const second = mtime.getTime() / 1000;
      expect(stdout.toString()).toBe(
        `${second}\n${second}\n/etc/x\n${second}\n..\n${second}\n../../../etc/x\n`,
      );
    });

    it('gives up on a tar that breaks off', async () => {
      const workspace = await stage.workspace();
      const broken = new PassThrough();
      const unpacked = workspace.unpack(broken);
      broken.write(Buffer.alloc(100));
      broken.destroy();
      await expect(unpacked).rejects.toThrow();
    });

    it('reads a big file whole, and lets go of one that is not read to its end', async () => {
      const workspace = await stage.workspace();
      const content = Buffer.alloc(5_000_000, 'impgem');
      await workspace.unpack(tarOf((pack) => void pack.entry({ name: 'big' }, content)));
      expect((await buffer(await workspace.read('big'))).equals(content)).toBe(true);
      const half = await workspace.read('big');
      const other = await buffer(await workspace.read('big'));
      expect(other.length).toBe(content.length);
      half.destroy();
      expect((await buffer(await workspace.read('big'))).length).toBe(content.length);
    });

    it('reads many files at once, each as it was listed', async () => {
      const workspace = await stage.workspace();
      const names = Array.from({ length: 40 }, (_, n) => `out/deep/${n}`);
      await workspace.unpack(
        tarOf((pack) => {
          for (const name of names) pack.entry({ name }, `content of ${name}`);
          pack.entry({ name: 'out/empty' }, '');
          pack.entry({ name: 'other' }, 'not wanted');
        }),
      );
      await stage.play(dialect.link('link', '/etc/passwd'), {}, workspace);
      const listed = await listing(workspace);
      const wanted = [...names, 'out/empty'].flatMap((name) => listed.get(name) ?? []);
      const gone: WorkspaceFile = { path: 'out/gone', type: 'file', size: 1, mode: 0o644 };
      const link: WorkspaceFile = { path: 'link', type: 'file', size: 1, mode: 0o644 };
      const other: WorkspaceFile = { path: 'other', type: 'file', size: 1, mode: 0o644 };
      const seen = new Map<string, string>();
      for await (const read of workspace.readMany([...wanted, gone, link, other]))
        seen.set(
          read.file.path,
          'bytes' in read ? read.bytes.toString() : (read.error as { code: string }).code,
        );
      expect(seen).toEqual(
        new Map([
          ...names.map((name) => [name, `content of ${name}`] as const),
          ['out/empty', ''],
          ['out/gone', 'artifact-refused'],
          ['link', 'artifact-refused'],
          ['other', 'artifact-refused'],
        ]),
      );
    });

    it('follows no link, and reads nothing outside', async () => {
      const workspace = await stage.workspace();
      await stage.play(dialect.link('passwd', '/etc/passwd'), {}, workspace);
      await stage.play(dialect.link('etc', '/etc'), {}, workspace);
      const files = await listing(workspace);
      expect([...files.keys()].toSorted()).toEqual(['etc', 'passwd']);
      const wishes = [
        'passwd',
        'etc/passwd',
        '../x',
        '/etc/passwd',
        'a/../../x',
        '',
        '.',
        'nowhere',
      ];
      for (const path of wishes) {
        await expect(workspace.read(path)).rejects.toMatchObject({ code: 'artifact-refused' });
      }
    });

    it.each(['a\nb', '-rf', 'with space', 'quote"\'$(x)', 'ümlaut', `${'deep/'.repeat(30)}file`])(
      'lives with the name %j',
      async (name) => {
        const workspace = await stage.workspace();
        await workspace.unpack(tarOf((pack) => void pack.entry({ name }, 'x')));
        expect((await listing(workspace)).get(name)).toMatchObject({ type: 'file', size: 1 });
        expect(await text(await workspace.read(name))).toBe('x');
      },
    );
  });
}
