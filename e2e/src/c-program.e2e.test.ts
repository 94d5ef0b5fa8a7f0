import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startFarm, type Farm } from './farm.js';
import { makeRepository } from './repository.js';

const FILES = {
  'hello.c':
    '#include <stdio.h>\n#include "sum.h"\nint main(void) { printf("%d\\n", sum(40, 2)); return 0; }\n',
  'sum.c': '#include "sum.h"\nint sum(int a, int b) { return a + b; }\n',
  'sum.h': 'int sum(int a, int b);\n',
  'test.c': '#include "sum.h"\nint main(void) { return sum(2, 2) == 4 ? 0 : 1; }\n',
  Makefile:
    'CFLAGS = -O2 -Wall -Werror\nall: hello\nhello: hello.o sum.o\ntest: sum.o test.o\n\t$(CC) -o run-test $^ && ./run-test && echo tests pass\n',
};

describe('a C program in debian:bookworm-slim', () => {
  let farm: Farm;
  let repository = '';
  let dir = '';

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'impgem-c-'));
    repository = await makeRepository(join(dir, 'repository'), FILES);
    farm = await startFarm();
  });
  afterAll(async () => {
    await farm?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it('is compiled and tested, and its binary comes back with the right SHA-256', async () => {
    const build = await farm.build(
      `
builders:
  hello:
    source: { git: '${repository}' }
    image: debian:bookworm-slim
    steps:
      - name: build and test
        run: |
          apt-get update -qq
          apt-get install -y -qq --no-install-recommends gcc make libc6-dev >/dev/null
          make
          make test
          ./hello
      - name: sum
        run: sha256sum hello
    artifacts: [hello]
`,
      'hello',
    );
    const log = await farm.logOf(build, 'build and test');
    expect({ result: build.result, log }).toMatchObject({ result: 'success' });
    expect(log).toContain('tests pass');
    expect(log).toContain('42\n');
    const [sum] = (await farm.logOf(build, 'sum')).split(' ').slice(-3);
    const bytes = await farm.artifact(build.id, 'hello');
    expect(bytes.subarray(1, 4).toString()).toBe('ELF');
    const got = createHash('sha256').update(bytes).digest('hex');
    expect(sum).toContain(got);
    expect(build.artifacts).toMatchObject([{ path: 'hello', sha256: got, size: bytes.length }]);
  });
});
