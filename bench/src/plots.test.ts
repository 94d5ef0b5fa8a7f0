import { describe, expect, it } from '@jest/globals';
import { FIGURES, type FigureName } from './figures.js';
import { besideBars, besidePeers, plot } from './plots.js';
import { judge, type Measured } from './result.js';

const of = (name: FigureName, measured: Measured) => judge(name, FIGURES[name], measured);

describe('plots', () => {
  it('turn every figure so that more is better', () => {
    const results = [
      of('container', { value: 100, peerValue: 400 }),
      of('dispatch', { value: 400, peerValue: 5 }),
      of('latency', { value: 60 }),
      of('biglog', { value: null }),
    ];
    expect(besideBars(results)).toEqual([
      { name: 'container', times: 2 },
      { name: 'dispatch', times: 2 },
      { name: 'latency', times: 0.5 },
    ]);
    expect(besidePeers(results)).toEqual([
      { name: 'container', times: 4 },
      { name: 'dispatch', times: 80 },
    ]);
  });

  it('show the worst of several bars', () => {
    // half of 50 MiB/s, though faster than its peer
    const [point] = besideBars([of('log', { value: 25, peerValue: 20 })]);
    expect(point).toEqual({ name: 'log', times: 0.5 });
  });

  it('are SVG with a label for each figure', () => {
    const svg = plot('title', [
      { name: 'first', times: 2 },
      { name: 'second', times: 0.25 },
    ]);
    expect(svg).toMatch(/^<svg /);
    for (const text of ['title', 'first', 'second', '0.25']) expect(svg).toContain(`>${text}<`);
  });
});
