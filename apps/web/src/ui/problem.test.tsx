/** @jest-environment jsdom */
import { ProblemError, UnreachableError } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { renderInPage } from '../testing/in-page.js';
import { ProblemAlert } from './problem.js';

it('shows what is wrong, where, and how to mend it', () => {
  const error = new ProblemError('undeclared-property', 422, 'hello does not declare "mod"', [
    { path: 'properties.mod', message: 'did you mean "mode"?' },
  ]);
  const { getByRole } = renderInPage(<ProblemAlert error={error} />);
  const text = getByRole('alert').textContent;
  expect(text).toContain('The builder does not declare this property');
  expect(text).toContain('hello does not declare "mod"');
  expect(text).toContain('properties.mod did you mean "mode"?');
});

it('says what to do when the token lacks the scope', () => {
  const error = new ProblemError('forbidden', 403, 'this needs the scope trigger');
  const { getByRole } = renderInPage(<ProblemAlert error={error} />);
  expect(getByRole('alert').textContent).toContain('Sign in with a token that has the scope');
});

it('tells a master that does not answer from one that refuses', () => {
  const error = new UnreachableError('', { cause: new TypeError('Failed to fetch') });
  const { getByRole } = renderInPage(<ProblemAlert error={error} />);
  expect(getByRole('alert').textContent).toContain('The master does not answer');
});
