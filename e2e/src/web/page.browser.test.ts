import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { eventually } from '@impgem/testkit';
import { startFarm, type Farm } from '../farm.js';
import { Program, ROOT } from '../program.js';
import { Browser, signIn } from './browser.js';

/**
 * The page in a real Chromium, against the built master and a worker with the host executor. The tests stand in
 * the order of a visit and share the page.
 */

/** `count` prints a numbered line until the file `gate` is there. */
const FARM = `
builders:
  count:
    description: Counts until it is told to stop
    properties:
      gate: { required: true, description: File that ends it }
      tone: { default: calm, choices: [calm, loud] }
    steps:
      - name: count
        run: |
          n=0
          while [ ! -e "$GATE" ]; do
            n=$((n + 1))
            echo "line $n"
            sleep 0.02
          done
          printf '\\033[32mgreen\\033[0m <b>not bold</b>\\n'
          echo 'to stderr' >&2
          mkdir -p out
          printf 'cut and polished\\n' > 'out/gem stone.txt'
        env:
          GATE: \${{ properties.gate }}
    artifacts: ['out/*']
  forever:
    steps: [{ name: wait, run: 'echo waiting; sleep 600' }]
  horrors:
    steps:
      - name: horrors
        run: |
          seq 1 200000
          head -c 52428800 /dev/zero | tr '\\0' x
          echo
          printf 'nul:\\000 bad:\\377\\376 end\\n'
  long:
    steps: [{ name: long, run: 'seq 1 3000000' }]
  far:
    labels: [moon]
    steps: [{ run: 'true' }]
`;

/** What runs in the page is text, since the tests know Node's types only. */
const RUN_AXE = `axe.run().then(({ violations }) =>
  violations.map(({ id, nodes }) => id + ': ' + nodes[0].html))`;
/** Milliseconds that each of 20 jumps through the log takes, sorted. */
const JUMP_AROUND = `(async () => {
  const element = document.querySelector('[role=log]');
  let most = 0;
  for (let step = 0; step < 20; step += 1) {
    element.scrollTop = (step / 20) * element.scrollHeight;
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    most = Math.max(most, element.querySelectorAll('*').length);
  }
  return most;
})()`;

describe('the page', () => {
  let farm: Farm;
  let browser: Browser;
  let page: Page;
  let folder = '';
  let gate = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'impgem-web-'));
    gate = join(folder, 'gate');
    [farm, browser] = await Promise.all([startFarm({ executor: 'host' }), Browser.open()]);
    await farm.apply(FARM);
    page = browser.page;
  });
  afterAll(async () => {
    try {
      await browser?.close();
      await farm?.stop();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  const log = () => page.getByRole('log');
  /** The lines in view: number and text. */
  const shownLines = async (): Promise<[number, string][]> => {
    const text = await log().innerText();
    const parts = text.split('\n').filter((part) => part !== '');
    return parts.flatMap((part, index) =>
      index % 2 === 0 ? [[Number(part), parts[index + 1] ?? ''] as [number, string]] : [],
    );
  };
  const lastLine = async () => (await shownLines()).at(-1)?.[0] ?? 0;
  /** No line of the counting step was lost or came twice, as far as they are in view. */
  const expectInOrder = async () => {
    const counted = (await shownLines()).flatMap(([number, text]) => {
      const match = /^line (\d+)$/.exec(text);
      return match ? [number - Number(match[1])] : [];
    });
    expect(counted.length).toBeGreaterThan(5);
    expect(new Set(counted).size).toBe(1);
  };
  const trigger = async (builder: string) => {
    await page.goto(`${farm.url}/builders`);
    await page.getByRole('button', { name: `Trigger ${builder}` }).click();
    const dialog = page.getByRole('dialog');
    return { dialog, submit: dialog.getByRole('button', { name: 'Trigger build' }) };
  };

  it('comes under a strict content policy', async () => {
    const answer = await page.goto(farm.url);
    const policy = (await answer?.headerValue('content-security-policy')) ?? '';
    expect(policy).toMatch(/default-src 'none'/);
    expect(policy).not.toMatch(/unsafe|data:|\*/);
  });

  it('refuses a wrong token and says so', async () => {
    await signIn(page, farm.url, `igt_abcdefghijkl_${'x'.repeat(43)}`);
    await page.getByRole('alert').getByText('No valid token').waitFor();
    await page.getByRole('heading', { name: 'Imp Gem' }).waitFor();
  });

  it('signs in, and keeps the token nowhere that a script can read', async () => {
    await signIn(page, farm.url, farm.token);
    await page.getByRole('heading', { name: 'Builders' }).waitFor();
    await page.getByText('Counts until it is told to stop').waitFor();
    const readable = await page.evaluate<string>(
      'JSON.stringify([document.cookie, location.href, localStorage, sessionStorage])',
    );
    expect(readable).not.toContain('igt_');
    const cookie = (await browser.context.cookies()).find(({ name }) => name === 'impgem_session');
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
  });

  it('asks for a required property before it triggers', async () => {
    const { dialog, submit } = await trigger('count');
    await submit.click();
    await dialog.getByText('gate needs a value').waitFor();
    await dialog.getByLabel('gate').fill(gate);
    expect(await dialog.getByRole('combobox', { name: 'tone' }).inputValue()).toBe('calm');
    await submit.click();
    await page.waitForURL(/\/builds\/\d+/);
    await page.getByRole('heading', { name: /count\s*#1/ }).waitFor();
  });

  it('shows the log as it comes and follows its end', async () => {
    await eventually(async () => (await lastLine()) > 40, { what: '40 lines' });
    const before = await lastLine();
    await eventually(async () => (await lastLine()) > before, { what: 'a newer line in view' });
    await expectInOrder();
  });

  it('stops following when the reader scrolls up, until asked to go on', async () => {
    await log().hover();
    await page.mouse.wheel(0, -400);
    const jump = page.getByRole('button', { name: 'Jump to end' });
    await jump.waitFor();
    const height = await log().evaluate((element) => element.scrollHeight);
    const top = await log().evaluate((element) => element.scrollTop);
    await eventually(
      async () => (await log().evaluate((element) => element.scrollHeight)) > height + 100,
      { what: 'more lines' },
    );
    expect(await log().evaluate((element) => element.scrollTop)).toBe(top);
    await jump.click();
    await jump.waitFor({ state: 'detached' });
    await eventually(
      () => log().evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight < 30),
      { what: 'the end in view' },
    );
  });

  it('shows a step that has not begun as such', async () => {
    const steps = page.getByRole('navigation', { name: 'Steps' });
    await steps.getByRole('button', { name: /artifacts/ }).click();
    await page.getByText('not started', { exact: true }).waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
    await steps.getByRole('button', { name: /count/ }).click();
    await eventually(async () => (await lastLine()) > 40, { what: 'the end of the other log' });
  });

  it('goes on without gap or double after the master was killed and started again', async () => {
    farm.master.kill('SIGKILL');
    await farm.master.exited;
    await page.getByText('reconnecting…', { exact: true }).waitFor();
    const before = await lastLine();
    await farm.startMaster();
    await eventually(async () => (await lastLine()) > before + 50, {
      what: 'lines after the restart',
    });
    await expectInOrder();
    await writeFile(gate, '');
    await page.getByText('complete', { exact: true }).waitFor();
    await expectInOrder();
  });

  it('has as many lines as the raw log, and the same ones', async () => {
    const id = Number(/\/builds\/(\d+)/.exec(page.url())?.[1]);
    const raw = (await farm.log(id, 0)).toString().split('\n').slice(0, -1);
    await page.getByText('Success').first().waitFor();
    await page
      .getByRole('navigation', { name: 'Steps' })
      .getByRole('button', { name: /count/ })
      .click();
    const count = `${String(raw.length).replaceAll(/\B(?=(\d{3})+$)/g, '\u202F')} lines`;
    await page.getByText(count).waitFor();
    for (const at of [0, 0.5, 1]) {
      await log().evaluate((element, part) => {
        element.scrollTop = part * element.scrollHeight;
      }, at);
      await eventually(
        async () => {
          const first = (await shownLines())[0]?.[0] ?? 0;
          return at === 0 ? first === 1 : first > at * 0.8 * (raw.length - 120);
        },
        { what: 'the lines of the new place' },
      );
      for (const [number, text] of await shownLines()) {
        // oxlint-disable-next-line no-control-regex
        const plain = raw[number - 1]?.replaceAll(/\u001B\[\d+m/g, '');
        if (plain?.startsWith('line ')) expect(text).toBe(plain);
      }
    }
  });

  it('colours the output and leaves its markup text', async () => {
    const green = log().getByText('green', { exact: true });
    expect(await green.getAttribute('class')).toBe('ansi-green-fg');
    await log().getByText('<b>not bold</b>').waitFor();
    expect(await log().locator('b').count()).toBe(0);
  });

  it('links to a line', async () => {
    await page.goto(page.url().replace(/[?#].*/, '?step=0#L3'));
    await log().getByText('line 1', { exact: true }).first().waitFor();
    await page.getByRole('link', { name: 'Line 5', exact: true }).click();
    await page.waitForURL(/#L5$/);
  });

  it('downloads an artifact with the SHA-256 that it shows', async () => {
    await page.getByRole('tab', { name: /Artifacts/ }).click();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'out/gem stone.txt' }).click(),
    ]);
    const bytes = await readFile(await download.path());
    expect(bytes.toString()).toBe('cut and polished\n');
    await page.getByText(createHash('sha256').update(bytes).digest('hex')).waitFor();
  });

  it('shows what the build ran with', async () => {
    await page.getByRole('tab', { name: 'Definition' }).click();
    await page.getByLabel('Commands of count').getByText('while [ ! -e "$GATE" ]').waitFor();
    await page.getByText(gate, { exact: true }).first().waitFor();
  });

  it('cancels a build after asking', async () => {
    const { submit } = await trigger('forever');
    await submit.click();
    await log().getByText('waiting', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Cancel build' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Reason').fill('seen enough');
    await dialog.getByRole('button', { name: 'Cancel build' }).click();
    await page
      .getByRole('heading', { name: /forever/ })
      .getByText('Cancelled')
      .waitFor();
    await page.getByRole('button', { name: 'Cancel build' }).waitFor({ state: 'detached' });
  });

  it('stays smooth with 200 000 lines, a line of 50 MB, NUL and bytes that are no text', async () => {
    const { submit } = await trigger('horrors');
    await submit.click();
    await page.getByText('complete', { exact: true }).waitFor();
    await page
      .getByText(/200\u202F00\d lines/)
      .first()
      .waitFor();
    const jump = page.getByRole('button', { name: 'Jump to end' });
    if (await jump.isVisible()) await jump.click();
    await log().getByText('^@').waitFor();
    expect(await log().getByText('nul:').innerText()).toContain('\uFFFD');
    await log()
      .getByText(/more characters are not shown/)
      .waitFor();
    expect(await log().getByRole('link').count()).toBeLessThan(200);
    // What makes a page slow is how much it holds: some hundred elements for what is in view, not all lines.
    expect(await page.evaluate<number>(JUMP_AROUND)).toBeLessThan(2_000);
  });

  /** The view has this line of `long`, in which a line says the number before its own, since the command is the first. */
  const showsLine = async (line: number) => {
    await log()
      .getByText(String(line - 1), { exact: true })
      .last()
      .waitFor();
    const lines = await shownLines();
    expect(lines.length).toBeGreaterThan(5);
    for (const [number, text] of lines.filter(([n]) => n > 1))
      expect(text).toBe(String(number - 1));
  };

  it('opens a long log at its end, and any part of it', async () => {
    const { submit } = await trigger('long');
    await submit.click();
    const complete = page.getByText('complete', { exact: true });
    await complete.waitFor();
    const address = page.url().replace(/[?#].*/, '');
    await page.goto(`${address}?step=0`);
    await showsLine(3_000_001);
    expect(await page.getByRole('button', { name: 'Later' }).isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'Earlier' }).click();
    await showsLine(2_950_000);
    await page.getByLabel('Go to line').fill('1 234 567');
    await page.getByLabel('Go to line').press('Enter');
    await page.waitForURL(/#L1234567$/);
    await showsLine(1_234_567);
    await page.goto(`${address}?step=0#L7`);
    await page.reload();
    await showsLine(7);
    expect(await page.getByRole('button', { name: 'Earlier' }).isDisabled()).toBe(true);
    await complete.waitFor();
    await page.getByRole('button', { name: 'Jump to end' }).click();
    await showsLine(3_000_001);
  });

  it('says what a request waits for that no worker can take', async () => {
    const { submit } = await trigger('far');
    await submit.click();
    await page.getByRole('heading', { name: 'Waiting for a worker' }).waitFor();
    await page.getByText(/None of the 1 connected workers has all the labels/).waitFor();
    await page.getByRole('button', { name: /Cancel request/ }).click();
    await page.getByText('Cancelled before a worker took it').waitFor();
  });

  it('filters builds, keeps the filter in the address, and reads names with care', async () => {
    await page.goto(`${farm.url}/builds`);
    await page.getByRole('link', { name: 'count #1' }).waitFor();
    await page.getByRole('combobox', { name: 'Result' }).click();
    await page.getByRole('option', { name: 'Cancelled' }).click();
    await page.waitForURL(/result=cancelled/);
    await page.getByRole('link', { name: 'forever #1' }).waitFor();
    await page.getByRole('link', { name: 'count #1' }).waitFor({ state: 'detached' });
  });

  it.each([
    ['From a clone', 'second-one'],
    ['impgem', 'third-one'],
  ])('adds a worker by the command that it shows for %s, and revokes it', async (tab, name) => {
    await page.goto(`${farm.url}/workers`);
    await page.getByRole('button', { name: 'Add a worker' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name', { exact: true }).fill(name);
    await dialog.getByRole('button', { name: /Make token/ }).click();
    await dialog.getByRole('tab', { name: tab, exact: true }).click();
    const command = await dialog.getByLabel(`command for ${tab}`, { exact: true }).innerText();
    const worker = new Program(name, ['sh', '-c', `exec env ${command}`], {
      IMPGEM_WORKER_DATA: join(folder, name),
      IMPGEM_EXECUTOR: 'host',
      PATH: `${join(ROOT, 'node_modules/.bin')}:${process.env.PATH ?? ''}`,
      IMPGEM_ALLOW_HOST_EXECUTOR: '1',
    });
    try {
      await dialog.getByText(`${name} is online`).waitFor();
      await dialog.getByRole('button', { name: 'Done' }).click();
      await page.getByRole('button', { name: `Revoke ${name}` }).click();
      await dialog.getByRole('button', { name: 'Revoke', exact: true }).click();
      await page.getByRole('row', { name }).waitFor({ state: 'detached' });
      await eventually(() => worker.exitCode !== null, { what: 'the end of the revoked worker' });
    } finally {
      if (worker.exitCode === null) worker.kill('SIGKILL');
      await worker.exited;
    }
  });

  it.each(['/builders', '/builders/count', '/builds', '/builds/1', '/workers'])(
    'has labels, order and contrast right on %s, in light and dark',
    async (path) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await page.goto(farm.url + path);
        await page.getByRole('main').getByRole('heading').first().waitFor();
        await page.getByText('Loading').first().waitFor({ state: 'detached' });
        await page.evaluate(axe.source);
        const found = await page.evaluate<string[]>(RUN_AXE);
        expect(found).toEqual([]);
      }
      await page.emulateMedia({ colorScheme: 'light' });
    },
  );

  it('fits a narrow screen without scrolling sideways', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    for (const path of ['/builders', '/builds', '/builds/1', '/workers']) {
      await page.goto(farm.url + path);
      await page.getByRole('main').getByRole('heading').first().waitFor();
      const wide = await page.evaluate<number>('document.documentElement.scrollWidth');
      expect(wide).toBeLessThanOrEqual(390);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  it('signs out', async () => {
    await page.getByRole('button', { name: /Account/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByLabel('API token').waitFor();
    await page.goto(`${farm.url}/builds`);
    await page.getByLabel('API token').waitFor();
  });

  it('broke no rule of its content policy and threw nothing', () => {
    const expected = [
      // signed out, and the master away: what the test did
      /status of (401|503)/,
      /WebSocket connection to .* failed/,
      /net::ERR_CONNECTION/,
    ];
    const others = browser.complaints.filter((text) => !expected.some((known) => known.test(text)));
    expect(others).toEqual([]);
  });
});
