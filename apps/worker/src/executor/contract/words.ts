/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import type { Stage } from './stage.js';

/** What users read of a step that cannot run, the same from every executor that has a shell and a disk. */
export function describeWords(stage: Stage): void {
  const { dialect } = stage.subject;
  if (!dialect.reopened) return;

  describe('words', () => {
    it.each([
      ['that is not there', 'no-such-command', {}, 127],
      [
        'outside of a PATH that was replaced',
        'echo true > tool; chmod +x tool; tool',
        { env: { PATH: '/nowhere' } },
        127,
      ],
      ['that may not be executed', 'echo x > f; ./f', {}, 126],
      ['whose interpreter is missing', "printf '#!/no/sh\\n' > g; chmod +x g; ./g", {}, 127],
      ['that is a folder', 'mkdir d; ./d', {}, 126],
    ] as const)(
      'of a command %s are its exit code and the shell’s own',
      async (_, run, more, code) => {
        const { exit, stderr } = await stage.play(run, more);
        expect(exit).toEqual({ exitCode: code });
        expect(stderr.toString()).toMatch(/not found|[Pp]ermission denied|No such file/);
      },
    );

    it.each(['taken', 'taken/below'])(
      'of the workdir %s, where a file is, say so',
      async (workdir) => {
        const workspace = await stage.workspace();
        await stage.play(dialect.writeFile('taken', 'x'), {}, workspace);
        await expect(stage.play('true', { workdir }, workspace)).rejects.toMatchObject({
          code: 'workspace-error',
          message: `the workdir "${workdir}" is no folder: a file has that name`,
        });
      },
    );

    it('of a step need no standard input', async () => {
      const { exit, stdout } = await stage.play('cat; read -r line || echo none');
      expect([exit, stdout.toString()]).toEqual([{ exitCode: 0 }, 'none\n']);
    });

    it('of the disk count what a workspace holds', async () => {
      const workspace = await stage.workspace();
      await stage.play('head -c 5000000 /dev/zero > zeros', {}, workspace);
      const { build } = workspace.attempt;
      const use = (await stage.executor.usage?.())?.find(({ attempt }) => attempt.build === build);
      expect(use?.bytes).toBeGreaterThan(4_900_000);
      expect(use?.bytes).toBeLessThan(8_000_000);
    });
  });
}
