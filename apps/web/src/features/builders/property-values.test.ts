import type { PropertyDefinition } from '@impgem/client';
import { expect, it } from '@jest/globals';
import { chosenValues, initialValues, missingValues } from './property-values.js';

const property = (rest: Partial<PropertyDefinition> = {}): PropertyDefinition => ({
  description: null,
  default: null,
  required: false,
  choices: null,
  ...rest,
});
const definitions = {
  branch: property({ default: 'main' }),
  mode: property({ choices: ['debug', 'release'], default: 'debug' }),
  version: property({ required: true }),
};

it('begins with the defaults', () => {
  expect(initialValues(definitions)).toEqual({ branch: 'main', mode: 'debug', version: '' });
});

it('begins with the values of an earlier build, as far as they are declared and allowed', () => {
  const given = { branch: 'next', mode: 'gone', version: '2', got_revision: 'abc' };
  expect(initialValues(definitions, given)).toEqual({ branch: 'next', mode: '', version: '2' });
});

it('names what is required and missing', () => {
  expect(missingValues(definitions, initialValues(definitions))).toEqual(['version']);
  expect(missingValues(definitions, { version: '1' })).toEqual([]);
});

it('sends what differs from the defaults', () => {
  expect(chosenValues(definitions, { branch: 'main', mode: 'release', version: '' })).toEqual({
    mode: 'release',
  });
  expect(chosenValues(definitions, { branch: '', mode: 'debug', version: '1' })).toEqual({
    branch: '',
    version: '1',
  });
});
