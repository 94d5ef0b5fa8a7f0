/**
 * A minute's look at the ratios, for CI: little work, wide thresholds, no absolute times, so that it holds on a busy
 * machine too and still tells when something has become several times slower.
 */
import { withFarm } from './farm.js';
import { FIGURES, type FigureName } from './figures.js';
import { judge, type Bar, type Measured, type Result } from './result.js';
import { artifactBuilders, bigFigure } from './rows/artifacts.js';
import { backlogFigures } from './rows/backlog.js';
import { BUILDERS, chainFigures, containerFigures, warmUp } from './rows/containers.js';
import { historyFigures } from './rows/history.js';
import { logBuilders, logFigures } from './rows/logs.js';

/** Far from what is measured on a quiet machine, and farther from what a regression would bring. */
const THRESHOLDS: Partial<Record<FigureName, Pick<Bar, 'is' | 'bar'>>> = {
  container: { is: '≤', bar: 1 },
  chain: { is: '≤', bar: 0.9 },
  log: { is: '≥', bar: 0.2 },
  artifacts: { is: '≥', bar: 0.02 },
  backlog: { is: '≥', bar: 0.4 },
  history: { is: '≥', bar: 0.4 },
};

export async function smoke(tell: (result: Result) => void): Promise<void> {
  const report = (name: FigureName, measured: Measured) => {
    const threshold = THRESHOLDS[name];
    if (!threshold) return;
    const bars = [{ of: 'ratio', goal: threshold.bar, ...threshold } as const];
    tell(judge(name, { ...FIGURES[name], bars }, measured));
  };
  const builders = { ...BUILDERS, ...logBuilders('small'), ...artifactBuilders('small') };
  await withFarm({ executor: 'docker', slots: 4, builders }, async (farm) => {
    await warmUp(farm);
    await containerFigures(farm, 'small', report);
    await chainFigures(farm, 'small', report);
    await logFigures(farm, 'small', report);
    await bigFigure(farm, 'small', report);
  });
  const backlog = { rounds: 1, spells: 1, fit: 500, unfit: 4500, claims: 40, singly: false };
  await backlogFigures(backlog, report);
  await historyFigures({ history: 5000, rounds: 1, builds: 40, singles: 0 }, report);
}
