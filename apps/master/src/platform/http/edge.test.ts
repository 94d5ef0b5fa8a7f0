import 'reflect-metadata';
import { NotFoundException } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import { Type } from 'class-transformer';
import { IsInt, IsString, validateSync, ValidateNested } from 'class-validator';
import { PROBLEM_CODES } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { isOutage } from '../database/outage.js';
import { pageOf } from './page.js';
import { answerOf } from './problem.js';
import { problemsOf } from './validation.js';

describe('answerOf', () => {
  it.each(Object.entries(PROBLEM_CODES))('answers %s with its status', (code, { status }) => {
    const { problem, unexpected } = answerOf(new FarmError(code, 'because'));
    expect(problem).toMatchObject({ code, status, detail: 'because' });
    expect(unexpected).toBe(false);
  });

  it('tells nothing of what it does not know', () => {
    for (const error of [
      new Error('secret'),
      new FarmError('unheard-of', 'secret'),
      'secret',
      null,
    ]) {
      const { problem, unexpected } = answerOf(error);
      expect(problem).toMatchObject({ code: 'internal', status: 500 });
      expect(problem.detail).not.toContain('secret');
      expect(unexpected).toBe(true);
    }
  });

  it('knows the framework’s errors by their status', () => {
    expect(answerOf(new NotFoundException('Cannot GET /x')).problem.code).toBe('not-found');
    const tooLarge = Object.assign(new Error('Request body is too large'), { statusCode: 413 });
    expect(answerOf(tooLarge).problem.code).toBe('too-large');
    const noSuchType = Object.assign(new Error('no'), { statusCode: 415 });
    expect(answerOf(noSuchType).problem.code).toBe('invalid-request');
  });

  it('gives a database’s outage its own code, with when to come back', () => {
    const gone = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
    const { problem, headers } = answerOf(gone);
    expect(problem.code).toBe('database-unavailable');
    expect(headers['retry-after']).toBeDefined();
  });
});

describe('isOutage', () => {
  it.each([
    [{ code: 'ECONNRESET', message: '' }, true],
    [{ code: '57P01', message: 'terminating connection' }, true],
    [{ code: '08006', message: '' }, true],
    [{ message: 'Connection terminated unexpectedly' }, true],
    [{ message: 'x', driverError: { code: 'EPIPE', message: '' } }, true],
    [{ message: 'x', errors: [{ code: 'ECONNREFUSED', message: '' }] }, true],
    [{ code: '23505', message: 'duplicate key' }, false],
    [{ code: '40001', message: 'could not serialize' }, false],
    [undefined, false],
  ])('of %j is %s', (error, expected) => {
    expect(isOutage(error)).toBe(expected);
  });
});

describe('pageOf', () => {
  it('points to the last row it shows when there are more', () => {
    expect(pageOf([1, 2, 3], 2, String)).toEqual({ items: [1, 2], next: '2' });
    expect(pageOf([1, 2], 2, String)).toEqual({ items: [1, 2], next: null });
    expect(pageOf([], 2, String)).toEqual({ items: [], next: null });
  });
});

class Inner {
  @IsInt() count!: number;
}
class Outer {
  @IsString() name!: string;
  @ValidateNested({ each: true }) @Type(() => Inner) parts!: Inner[];
}

describe('problemsOf', () => {
  it('says where, and names the nearest known key', () => {
    const inner = Object.assign(new Inner(), { cuont: 1, count: 1 });
    const outer = Object.assign(new Outer(), { name: 1, parts: [inner] });
    const errors = validateSync(outer, { whitelist: true, forbidNonWhitelisted: true });
    expect(problemsOf(errors)).toEqual([
      { path: 'name', message: 'name must be a string' },
      { path: 'parts[0].cuont', message: 'unknown key; did you mean count?' },
    ]);
  });
});
