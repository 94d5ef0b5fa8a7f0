import { createRequire } from 'node:module';
import type { EChartsOption } from 'echarts';
import { FIGURES, type FigureName } from './figures.js';
import type { Bar, Figure, Result } from './result.js';

// One file that way; by `import` they are six hundred.
const { init } = createRequire(import.meta.url)('echarts') as typeof import('echarts');

const WIDTH = 860;
const ROW_HEIGHT = 22;
const GOOD = '#2f9e44';
const BAD = '#c92a2a';

interface Point {
  name: string;
  /** Above 1 is good. */
  times: number;
}

const figureOf = (name: string): Figure => FIGURES[name as FigureName];

/** How many times better than its bar; of several bars the one that is kept worst. */
export function besideBars(results: readonly Result[]): Point[] {
  return results.flatMap(({ name, value, ratio }) => {
    const times = figureOf(name).bars.map(({ of, is, bar }: Bar) => {
      const found = of === 'ratio' ? ratio : value;
      return found === null ? Number.NaN : is === '≥' ? found / bar : bar / found;
    });
    const worst = Math.min(...times);
    return Number.isFinite(worst) && worst > 0 ? [{ name, times: worst }] : [];
  });
}

/** How many times better than its peer. */
export function besidePeers(results: readonly Result[]): Point[] {
  return results.flatMap(({ name, unit, ratio }) => {
    if (ratio === null || ratio <= 0) return [];
    return [{ name, times: unit === 'ms' ? 1 / ratio : ratio }];
  });
}

/** Bars from 1, on a logarithmic axis: what is worse goes to the left. */
export function plot(title: string, points: readonly Point[]): string {
  const height = 90 + points.length * ROW_HEIGHT;
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  const option: EChartsOption = {
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 'center', textStyle: { fontSize: 14 } },
    grid: { left: 150, right: 70, top: 40, bottom: 40 },
    xAxis: { type: 'log', name: 'times', nameLocation: 'middle', nameGap: 24 },
    yAxis: { type: 'category', inverse: true, data: points.map(({ name }) => name) },
    series: [
      {
        type: 'bar',
        data: points.map(({ times }) => ({
          value: times,
          itemStyle: { color: times >= 1 ? GOOD : BAD },
          label: {
            show: true,
            position: times >= 1 ? 'right' : 'left',
            formatter: String(Number(times.toPrecision(3))),
          },
        })),
      },
    ],
  };
  chart.setOption(option);
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}
