import { describe, expect, it } from '@jest/globals';
import { errorForLog } from './logging.js';

describe('an error in the log', () => {
  it('is told with its code and its causes', () => {
    const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    const error = Object.assign(new TypeError('cannot look', { cause }), { code: '57P01' });
    expect(errorForLog(error)).toEqual({
      type: 'TypeError',
      code: '57P01',
      message: 'cannot look: connect ECONNREFUSED',
      stack: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('leaves out what else it carries', () => {
    const client = { password: 'secret', statements: ['SELECT $1'] };
    expect(JSON.stringify(errorForLog(Object.assign(new Error('gone'), { client })))).not.toMatch(
      /client|secret|SELECT/,
    );
  });
});
