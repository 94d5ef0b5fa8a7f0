import { describe, expect, it } from '@jest/globals';
import { tableOf, withPart } from './reliability.js';

const PART = { title: 'Chaos', begin: '<!-- chaos -->', end: '<!-- end of chaos -->' };

describe('the page on reliability', () => {
  it('has tables laid out as the formatter wants them', () => {
    const rows = [
      ['worker killed', '12 of 12', '1,234,567'],
      ['all', '175 of 175', '9'],
    ];
    expect(tableOf(['fault', 'hits', 'bytes'], rows)).toBe(
      [
        '| fault         |       hits |     bytes |',
        '| ------------- | ---------: | --------: |',
        '| worker killed |   12 of 12 | 1,234,567 |',
        '| all           | 175 of 175 |         9 |',
      ].join('\n'),
    );
  });

  it('makes room for the shortest rule there is', () => {
    expect(tableOf(['a', 'n'], [['b', '1']])).toBe('| a   |   n |\n| --- | --: |\n| b   |   1 |');
  });

  it('gets a part at its end, or a new one in the place of the old', () => {
    const first = withPart('# Reliability\n', PART, ['one']);
    expect(first).toBe(
      '# Reliability\n\n## Chaos\n\n<!-- chaos -->\n\none\n\n<!-- end of chaos -->\n',
    );
    const page = `${first}\nMore.\n`;
    expect(withPart(page, PART, ['two', 'three'])).toBe(page.replace('one', 'two\n\nthree'));
  });
});
