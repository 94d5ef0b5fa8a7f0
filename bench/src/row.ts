import type { FigureName } from './figures.js';
import type { Measured } from './result.js';

/** `small`: little work, for trying things out and for the smoke test. */
export type Size = 'full' | 'small';

export type Report = (name: FigureName, measured: Measured) => void;

/** Measures a row of the table, and reports each of its figures, the row's own first. */
export type Row = (size: Size, report: Report) => Promise<void>;
