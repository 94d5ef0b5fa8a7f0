/**
 * Makes the pictures of the README, docs/images/*.png, from a real farm: node e2e/dist/web/screenshots.js
 * after a build. The host executor runs the steps, so no engine is needed.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NewToken } from '@impgem/client';
import type { Page } from 'playwright-core';
import { startFarm, type Farm } from '../farm.js';
import { ROOT } from '../program.js';
import { makeRepository } from '../repository.js';
import { Browser, signIn } from './browser.js';

const IMAGES = join(ROOT, 'docs/images');

const farmFile = (repository: string) => `
builders:
  facet:
    description: The library and its tests
    source: { git: '${repository}' }
    properties:
      mode: { default: release, choices: [debug, release, asan], description: How it is compiled }
    steps:
      - name: compile
        run: sh make.sh all
      - name: test
        run: sh make.sh check
    artifacts: [build/*]
  manual:
    description: The book, as HTML
    steps:
      - name: render
        run: |
          echo 'chapter 1: cutting'; echo 'chapter 2: polishing'
          mkdir out; echo '<h1>Cutting</h1>' > out/index.html
    artifacts: [out/*]
  fuzz:
    description: An hour of bad input every night
    steps:
      - name: fuzz
        run: |
          echo 'seed 20261'
          printf '\\033[31;1mcrash:\\033[0m facet_cut: index 17 of 16\\n' >&2
          exit 3
  release:
    description: Signed packages
    labels: [signing-key]
    properties:
      version: { required: true, description: 'As in the change log, e.g. 0.4.0' }
    steps: [{ name: sign, run: 'true' }]
`;

/** Prints like a compiler and a test runner; `check` takes its time. */
const MAKE = `#!/bin/sh
mkdir -p build
if [ "$1" = all ]; then
  for part in crown girdle pavilion table culet star bezel; do
    echo "cc -O2 -Wall -c src/$part.c -o build/$part.o"
    [ "$part" = girdle ] && printf 'src/girdle.c:41:9: \\033[1;35mwarning:\\033[0m unused variable \\033[1mangle\\033[0m [\\033[35m-Wunused-variable\\033[0m]\\n' >&2
    sleep 0.1
  done
  echo 'ar rcs build/libfacet.a'; head -c 148000 /dev/zero > build/libfacet.a; rm -f build/*.o
else
  printf '\\033[1mfacet: 412 tests\\033[0m\\n'
  n=0
  while [ $n -lt 412 ]; do
    n=$((n + 1))
    printf '\\033[32m✓\\033[0m %03d cuts \\033[36m%s\\033[0m into %d facets\\n' $n "stone-$((n * 37 % 97))" $((n % 41 + 17))
    sleep 0.05
  done
fi
`;

async function shoot(page: Page, name: string): Promise<void> {
  await page.evaluate('document.fonts.ready.then(() => undefined)');
  await page.screenshot({ path: join(IMAGES, `${name}.png`) });
}

async function run(farm: Farm, builder: string): Promise<void> {
  await farm.untilBuild((await farm.request(builder)).id);
}

async function takePictures(farm: Farm, token: string): Promise<void> {
  await run(farm, 'manual');
  await run(farm, 'fuzz');
  const first = await farm.request('facet');
  await farm.untilBuild(first.id);
  const { id } = await farm.untilBuild((await farm.request('facet')).id, ['running']);
  const browser = await Browser.open();
  const { page } = browser;
  try {
    await signIn(page, farm.url, token);
    await page.getByRole('heading', { name: 'Builders' }).waitFor();
    await page.getByText('1 running').waitFor();
    await shoot(page, 'builders');
    await page.goto(`${farm.url}/builds/${id}`);
    await page
      .getByText(/0[5-9]\d cuts/)
      .first()
      .waitFor();
    await shoot(page, 'build');
    await page.emulateMedia({ colorScheme: 'dark' });
    await shoot(page, 'build-dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await page.goto(`${farm.url}/workers`);
    await page.getByRole('button', { name: 'Add a worker' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name', { exact: true }).fill('quarry-2');
    await dialog.getByRole('button', { name: /Make token/ }).click();
    await dialog.getByText('Waiting for the worker').waitFor();
    await shoot(page, 'add-worker');
  } finally {
    await browser.close();
  }
}

const folder = await mkdtemp(join(tmpdir(), 'impgem-pictures-'));
const farm = await startFarm({ executor: 'host', workers: 0 });
try {
  await mkdir(IMAGES, { recursive: true });
  const repository = await makeRepository(join(folder, 'facet'), { 'make.sh': MAKE });
  await farm.apply(farmFile(repository));
  for (const name of ['anvil', 'quarry']) await farm.addWorker(name);
  const { token } = await farm.api<NewToken>('POST', '/tokens', { name: 'ann', scopes: ['admin'] });
  farm.token = token;
  await takePictures(farm, token);
} finally {
  await farm.stop();
  await rm(folder, { recursive: true, force: true });
}
