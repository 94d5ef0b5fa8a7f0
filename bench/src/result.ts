/** What is said of one figure: measured, set beside its peer, judged by its bars. */

/** One demand on a figure: on the value itself, or on value ÷ peer's value. `goal` is what we would like. */
export interface Bar {
  of: 'value' | 'ratio';
  is: '≥' | '≤';
  bar: number;
  goal: number;
}

export interface Figure {
  /** A sentence for the page. */
  what: string;
  unit: string;
  /** Null where the bar is absolute. */
  peer: string | null;
  bars: readonly Bar[];
}

/** One JSON line. Null is what could not be measured; `note` then says why. `ratio` is value ÷ peerValue. */
export interface Result {
  name: string;
  value: number | null;
  unit: string;
  peer: string | null;
  peerValue: number | null;
  ratio: number | null;
  goal: string;
  bar: string;
  met: boolean | null;
  goalMet: boolean | null;
  note?: string;
}

export interface Measured {
  value: number | null;
  peerValue?: number | null;
  /** What this run was like, or why there is no value. */
  note?: string;
}

const rounded = (value: number) => Number(value.toPrecision(4));

export function judge(
  name: string,
  figure: Figure,
  { value, peerValue = null, note }: Measured,
): Result {
  const ratio = value === null || peerValue === null ? null : value / peerValue;
  const meets = (limit: 'bar' | 'goal') => {
    const judged = figure.bars.map((bar) =>
      holds(bar, bar[limit], bar.of === 'ratio' ? ratio : value),
    );
    if (judged.length === 0) return null;
    if (judged.includes(false)) return false;
    return judged.includes(null) ? null : true;
  };
  return {
    name,
    value: value === null ? null : rounded(value),
    unit: figure.unit,
    peer: figure.peer,
    peerValue: peerValue === null ? null : rounded(peerValue),
    ratio: ratio === null ? null : rounded(ratio),
    goal: limits(figure, 'goal'),
    bar: limits(figure, 'bar'),
    met: meets('bar'),
    goalMet: meets('goal'),
    ...(note === undefined ? {} : { note }),
  };
}

function holds({ is }: Bar, limit: number, value: number | null): boolean | null {
  if (value === null || Number.isNaN(value)) return null;
  return is === '≥' ? value >= limit : value <= limit;
}

function limits({ bars, unit }: Figure, limit: 'bar' | 'goal'): string {
  return bars
    .map((bar) =>
      bar.of === 'ratio' ? `ratio ${bar.is} ${bar[limit]}` : `${bar.is} ${bar[limit]} ${unit}`,
    )
    .join(' and ');
}

export function sentence(one: Result): string {
  const value = one.value === null ? 'not measured' : `${one.value} ${one.unit}`;
  const beside = one.peerValue === null ? '' : `; ${one.peer} ${one.peerValue}, ratio ${one.ratio}`;
  const judged = one.met === null ? '' : one.met ? ', met' : ', MISSED';
  const bar = one.bar === '' ? '' : ` (bar ${one.bar}${judged}; goal ${one.goal})`;
  return `${one.name}: ${value}${beside}${bar}${one.note ? `\n    ${one.note}` : ''}`;
}
