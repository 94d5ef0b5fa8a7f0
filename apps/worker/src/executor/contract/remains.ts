/* oxlint-disable max-lines-per-function -- a suite of tests, which has no cap either */
import { describe, expect, it } from '@jest/globals';
import { testIdentity } from '@impgem/testkit';
import { Audience } from './stage.js';
import type { Stage } from './stage.js';

/** What is left outside the process: nothing, after every way to end. */
export function describeRemains(stage: Stage): void {
  const { dialect } = stage.subject;

  describe('remains', () => {
    it('are none of a step that cannot be started, and the reason is told', async () => {
      const workspace = await stage.workspace();
      const before = await stage.subject.remains(stage.identity);
      const spec = { ...stage.spec(dialect.exit(0)), ...dialect.unstartable() };
      await expect(stage.start(workspace, spec, () => {})).rejects.toMatchObject({
        name: 'FarmError',
        message: expect.stringMatching(/.{10}/),
      });
      expect(await stage.subject.remains(stage.identity)).toEqual(before);
    });

    it('are gone when the workspace is', async () => {
      const workspace = await stage.workspace();
      await stage.play(dialect.writeFile('x', 'y'), {}, workspace);
      await workspace.dispose();
      const left = await stage.subject.remains(stage.identity);
      const { build } = workspace.attempt;
      expect(left.filter((object) => object.includes(`-${build}-1-`))).toEqual([]);
    });

    it("of a dead process are swept, but no kept attempt's and no neighbour's", async () => {
      const { subject } = stage;
      const mine = testIdentity();
      const audience = new Audience();
      const neighbour = await stage.start(
        await stage.workspace(),
        stage.spec(dialect.wait()),
        audience.sink,
      );
      await audience.sees('started');
      const dead = subject.create();
      await dead.open(mine);
      const lost = await dead.createWorkspace({ build: 1, epoch: 1 }, 0);
      const kept = await dead.createWorkspace({ build: 2, epoch: 1 }, 1);
      const watcher = new Audience();
      const { signal } = new AbortController();
      const orphan = await dead.start(lost, stage.spec(dialect.wait()), {
        sink: watcher.sink,
        signal,
        launching: async () => {},
      });
      await watcher.sees('started');

      const heir = subject.create();
      await heir.open(mine);
      await heir.sweep([kept.attempt]);
      const left = (await subject.remains(mine)).filter((object) => /-[12]-1-/.test(object));
      expect(left.filter((object) => object.includes('-1-1-'))).toEqual([]);
      expect(left.length).toBe(subject.name === 'scripted' ? 0 : 1);

      let ended = false;
      void neighbour.exited.then(() => (ended = true));
      expect(ended).toBe(false);
      await neighbour.stop(0);
      await orphan.stop(0);
      await Promise.all([dead.close(), heir.close()]);
      await heir.sweep([]);
      expect(await subject.remains(mine)).toEqual([]);
    });
  });
}
