import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { patient } from '@impgem/testkit';
import { chromium, type BrowserContext, type Page } from 'playwright-core';

/** Debian's Chromium, headless, in a container or as root too. */
const CHROMIUM = '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-setuid-sandbox',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
];

/** Chromium gives up what it is about to open when a network comes or goes, as those of builds do. */
const NETWORK_CHANGED = 'net::ERR_NETWORK_CHANGED';

/** What is waited for is a build's end at most. */
const LIMIT_MS = patient(90_000);

export interface Look {
  width: number;
  height: number;
  colorScheme: 'light' | 'dark';
}

/** A browser with a profile of its own and one page; `complaints` are what its console and its scripts said. */
export class Browser {
  readonly complaints: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
    private readonly folder: string,
  ) {
    page.on('console', (message) => {
      const kind = message.type();
      const told = message.text();
      if ((kind === 'error' || kind === 'warning') && !told.includes(NETWORK_CHANGED))
        this.complaints.push(told);
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
  }

  static async open(
    look: Look = { width: 1280, height: 800, colorScheme: 'light' },
  ): Promise<Browser> {
    const folder = await mkdtemp(join(tmpdir(), 'impgem-browser-'));
    const context = await chromium.launchPersistentContext(folder, {
      executablePath: CHROMIUM,
      args: FLAGS,
      viewport: { width: look.width, height: look.height },
      colorScheme: look.colorScheme,
      acceptDownloads: true,
      timeout: LIMIT_MS,
    });
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(LIMIT_MS);
    goAgain(page);
    return new Browser(context, page, folder);
  }

  async close(): Promise<void> {
    await this.context.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Opens an address again after a change of networks. */
function goAgain(page: Page): void {
  const goOnce = page.goto.bind(page);
  page.goto = async (...where) => {
    for (;;) {
      try {
        return await goOnce(...where);
      } catch (error) {
        if (!String(error).includes(NETWORK_CHANGED)) throw error;
      }
    }
  };
}

/** Types the token into the sign-in form. */
export async function signIn(page: Page, url: string, token: string): Promise<void> {
  await page.goto(url);
  await page.getByLabel('API token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}
