import { describe, expect, it } from '@jest/globals';
import type { Progress } from '../spool/index.js';
import { workspaceNeed } from './take-up.js';

const RUN = { kind: 'run' } as const;
const CHECKOUT = { kind: 'checkout' } as const;
const log = { bytes: 0, ends: {} };
const progress = (more: Partial<Progress>): Progress => ({
  started: true,
  finished: false,
  endings: [],
  ...more,
});
const success = { result: 'success' } as const;
const launch = (step: number) => ({ step, ref: 'x' });

describe('the workspace of a build that is taken up', () => {
  it.each([
    ['nothing had begun', progress({ started: false }), undefined, 'clean'],
    ['a checkout was under way', progress({ open: { atMs: 0, log } }), undefined, 'clean'],
    [
      'a checkout was whole',
      progress({ open: { atMs: 0, log, revision: 'a' } }),
      undefined,
      'kept',
    ],
    ['between steps', progress({ endings: [success] }), undefined, 'kept'],
    ['a step runs', progress({ endings: [success], open: { atMs: 0, log } }), launch(1), 'kept'],
    ['the step before ran', progress({ endings: [success, success] }), launch(1), 'kept'],
  ])('when %s', (_, of, launched, need) => {
    const earlier = { startedAt: 0, progress: of, ...(launched ? { launch: launched } : {}) };
    expect(workspaceNeed(earlier, [CHECKOUT, RUN])).toBe(need);
  });

  it('is a new one when the first command was never launched, and the old one when it was', () => {
    const earlier = { startedAt: 0, progress: progress({ open: { atMs: 0, log } }) };
    expect(workspaceNeed(earlier, [RUN])).toBe('clean');
    expect(workspaceNeed({ ...earlier, launch: launch(0) }, [RUN])).toBe('kept');
  });

  it('is no use when a later step was launched than the journal knows of', () => {
    const earlier = { startedAt: 0, progress: progress({ endings: [success] }), launch: launch(1) };
    expect(workspaceNeed(earlier, [CHECKOUT, RUN])).toEqual({
      lost: 'its journal has lost its end',
    });
  });
});
