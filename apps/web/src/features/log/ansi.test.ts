import { describe, expect, it } from '@jest/globals';
import { ansiSegments } from './ansi.js';

const ESC = '\u001B';
/** A terminal hyperlink. */
const link = (url: string) => ansiSegments(`${ESC}]8;;${url}${ESC}\\name${ESC}]8;;${ESC}\\`);

describe('ansiSegments', () => {
  it('gives a plain line as one run', () => {
    expect(ansiSegments('a < b && c')).toEqual([{ text: 'a < b && c', className: '', style: {} }]);
    expect(ansiSegments('')).toEqual([]);
  });

  it('names the sixteen colours and the looks by class', () => {
    expect(ansiSegments(`ok ${ESC}[1;31mbad${ESC}[0m end`)).toEqual([
      { text: 'ok ', className: '', style: {} },
      { text: 'bad', className: 'ansi-red-fg ansi-bold', style: {} },
      { text: ' end', className: '', style: {} },
    ]);
  });

  it('gives 24-bit colours as style', () => {
    expect(ansiSegments(`${ESC}[38;2;1;2;3mx`)[0]?.style).toEqual({ color: 'rgb(1,2,3)' });
  });

  it('goes on in the colour of the line before', () => {
    expect(ansiSegments('still', `${ESC}[32m`)[0]?.className).toBe('ansi-green-fg');
  });

  it('leaves markup in the output text', () => {
    const hostile = `${ESC}[31m<img src=x onerror="alert('1')"> &lt;`;
    expect(ansiSegments(hostile).map((segment) => segment.text)).toEqual([
      `<img src=x onerror="alert('1')"> &lt;`,
    ]);
  });

  it('keeps links to the web and no others', () => {
    expect(link('https://example.org/?a=1&b=2')[0]).toMatchObject({
      href: 'https://example.org/?a=1&b=2',
      text: 'name',
    });
    expect(link('javascript:alert(1)').some((segment) => segment.href)).toBe(false);
  });

  it('drops window titles and cursor movements', () => {
    const text = ansiSegments(`${ESC}]0;title\u0007a${ESC}[2Kb${ESC}[1Ac`)
      .map((segment) => segment.text)
      .join('');
    expect(text).toBe('abc');
  });

  it('shows control characters in caret notation, apart from the text, and keeps tabs', () => {
    expect(ansiSegments('a\0b\tc\u007F\b')).toEqual([
      { text: 'a', className: '', style: {} },
      { text: '^@', className: 'ansi-control', style: {} },
      { text: 'b\tc', className: '', style: {} },
      { text: '^?^H', className: 'ansi-control', style: {} },
    ]);
  });
});
