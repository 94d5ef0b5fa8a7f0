import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startRegistry, testEngine } from '@impgem/testkit';
import type { TestRegistry } from '@impgem/testkit';
import { Images } from './images.js';

const never = (): AbortSignal => new AbortController().signal;
const engine = testEngine();
let registry: TestRegistry;

beforeAll(async () => {
  registry = await startRegistry((await engine.version()).Arch);
});
afterAll(async () => {
  await registry.close();
  const left = await engine.listImages({ filters: { reference: [`${registry.address}/*`] } });
  for (const { RepoTags } of left) {
    for (const tag of RepoTags ?? []) await engine.getImage(tag).remove();
  }
});

describe('Images', () => {
  it('pulls a missing image once for all who wait, says so, and not again', async () => {
    const images = new Images(engine, undefined);
    const name = `${registry.address}/good`;
    const said: string[][] = [[], [], []];
    const found = await Promise.all(
      said.map((lines) => images.ensure(name, (line) => void lines.push(line), never())),
    );
    for (const { reference, digest } of found) {
      expect(reference).toBe(`${name}:latest`);
      expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    }
    for (const lines of said) {
      expect(lines[0]).toBe(`pulling ${name}:latest`);
      expect(lines.at(-1)).toBe(`pulled ${name}:latest`);
    }
    const layers = registry.asked.filter((url) => url.includes('/good/blobs/'));
    expect(layers.length).toBe(new Set(layers).size);
    const { length } = registry.asked;
    await images.ensure(name, () => {}, never());
    expect(registry.asked.length).toBe(length);
  });

  it("gives the registry's answer when it refuses, and what to do", async () => {
    const name = `${registry.address}/denied`;
    const pull = new Images(engine, undefined).ensure(name, () => {}, never());
    await expect(pull).rejects.toMatchObject({
      code: 'image-unavailable',
      message: expect.stringMatching(/denied:latest[\s\S]*denied[\s\S]*docker login/),
    });
  });

  it('lets each build give its wait up, and does not take the pull from the others', async () => {
    // Of its own, since the engine asks for no layer that it has.
    const other = await startRegistry((await engine.version()).Arch);
    const images = new Images(engine, undefined);
    const name = `${other.address}/stuck`;
    const [one, two] = [new AbortController(), new AbortController()];
    const first = images.ensure(name, () => {}, one.signal);
    const second = images.ensure(name, () => {}, two.signal);
    one.abort();
    await expect(first).rejects.toMatchObject({ code: 'cancelled' });
    while (!other.asked.some((url) => url.includes('/stuck/blobs/'))) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    two.abort();
    await expect(second).rejects.toMatchObject({ code: 'cancelled' });
    await other.close();
  });
});
