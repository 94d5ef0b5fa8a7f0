import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PROJECTS, check, cyclesOf, pictures, readTree, withPictures } from './boundaries.mjs';

const { packages } = readTree();

/** What a tree of these files is told, without the paths of other rules. */
const told = (files, changed = packages) =>
  check({ files: new Map(Object.entries(files)), packages: changed });

const refuses = (files, what) => {
  const problems = told(files);
  assert.equal(problems.length, 1, problems.join('\n'));
  assert.match(problems[0], what);
};

describe('the boundaries', () => {
  it('let an app import a library and its own files', () => {
    const files = {
      'apps/master/src/main.ts': "import { x } from '@impgem/kit';\nimport './builds/index.js';",
      'apps/master/src/builds/index.ts': "import { Module } from '@nestjs/common';",
    };
    assert.deepEqual(told(files), []);
  });

  it('refuse an import of an app', () => {
    refuses({ 'e2e/src/a.ts': "import '@impgem/master';" }, /a\.ts:1: nothing imports an app/);
  });

  it('refuse a project that the table does not name', () => {
    refuses({ 'libs/kit/src/a.ts': "import '@impgem/protocol';" }, /kit may import no project/);
    refuses({ 'apps/web/src/a.ts': "export * from '@impgem/protocol';" }, /web may import/);
  });

  it('refuse a package outside its folders', () => {
    refuses(
      { 'apps/worker/src/a.ts': "import { Module } from '@nestjs/common';" },
      /apps\/master only/,
    );
    refuses(
      { 'apps/worker/src/build/a.ts': "import Docker from 'dockerode';" },
      /executor\/docker/,
    );
    refuses({ 'apps/cli/src/a.ts': "const r = await import('react');" }, /apps\/web only/);
    refuses({ 'apps/worker/src/a.ts': "import pg from 'pg';" }, /pg is for/);
  });

  it('refuse Node in a library that also runs in the browser', () => {
    refuses({ 'libs/pipeline/src/a.ts': "import 'node:fs';" }, /runtime:any/);
    assert.deepEqual(told({ 'libs/pipeline/src/a.test.ts': "import 'node:fs';" }), []);
  });

  it('refuse the test library outside tests', () => {
    refuses({ 'apps/worker/src/a.ts': "import '@impgem/testkit';" }, /for tests only/);
    assert.deepEqual(told({ 'apps/worker/src/a.test.ts': "import '@impgem/testkit';" }), []);
  });

  it('refuse a feature that is not below, and one reached behind its index', () => {
    const events = { 'apps/master/src/events/index.ts': '', 'apps/master/src/events/read.ts': '' };
    refuses(
      { ...events, 'apps/master/src/platform/a.ts': "import '../events/index.js';" },
      /platform may import no other folder, not events/,
    );
    refuses(
      { ...events, 'apps/master/src/live/a.ts': "import '../events/read.js';" },
      /reaches behind apps\/master\/src\/events\/index\.ts/,
    );
  });

  it('refuse features of the page that know each other', () => {
    const files = {
      'apps/web/src/features/builds/a.ts': "import '../workers/b.js';",
      'apps/web/src/features/workers/b.ts': '',
    };
    refuses(files, /does not know workers/);
  });

  it('refuse a relative path into another project', () => {
    const files = {
      'apps/cli/src/a.ts': "import '../../../libs/kit/src/b.js';",
      'libs/kit/src/b.ts': '',
    };
    refuses(files, /leaves its project/);
  });

  it('refuse the environment outside config.ts, but not in a comment', () => {
    refuses(
      { 'apps/cli/src/a.ts': '// process.env\nexport const a = process.env.A;' },
      /a\.ts:2: process\.env/,
    );
    assert.deepEqual(told({ 'apps/cli/src/config.ts': 'export const a = process.env.A;' }), []);
    const reason = '// oxlint-disable-next-line node/no-process-env -- handed on whole\n';
    assert.deepEqual(told({ 'apps/cli/src/a.ts': `${reason}spawn(process.env);` }), []);
  });

  it('refuse a cycle of values, but not of types', () => {
    const b = "import { a } from './a.js';";
    refuses(
      { 'libs/kit/src/a.ts': "import { b } from './b.js';", 'libs/kit/src/b.ts': b },
      /a cycle: /,
    );
    assert.deepEqual(
      told({ 'libs/kit/src/a.ts': "import type { b } from './b.js';", 'libs/kit/src/b.ts': b }),
      [],
    );
    assert.equal(cyclesOf(new Map([['a', ['a']]])).length, 1);
  });

  it('refuse a project without its three tags, or that the table does not have', () => {
    const changed = new Map(packages);
    changed.set('libs/kit', { nx: { tags: ['type:lib', 'runtime:any'] } });
    changed.set('libs/utils', { nx: { tags: ['type:lib', 'runtime:any', 'scope:shared'] } });
    const problems = told({}, changed);
    assert.equal(problems.length, 2);
    assert.match(problems[0], /libs\/kit.*one tag scope:/);
    assert.match(problems[1], /libs\/utils.*not in the table/);
  });

  it('find that every project of the workspace is tagged', () => {
    assert.deepEqual(told({}), []);
    assert.equal(packages.size, Object.keys(PROJECTS).length);
  });
});

describe('the pictures', () => {
  it('stand between their markers, the same after a second drawing', () => {
    const page = 'a\n<!-- picture: master -->\nold\n<!-- end -->\nb';
    const drawn = withPictures(page);
    assert.ok(drawn.includes(pictures().master));
    assert.ok(!drawn.includes('old'));
    assert.equal(withPictures(drawn), drawn);
  });
});
