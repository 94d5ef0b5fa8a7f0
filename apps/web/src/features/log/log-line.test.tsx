/** @jest-environment jsdom */
import { expect, it } from '@jest/globals';
import { fireEvent, render } from '@testing-library/react';
import { LogLineRow } from './log-line.js';

const line = {
  number: 12,
  stream: 'stdout' as const,
  text: '',
  carry: '',
  hidden: 0,
  chosen: false,
  onChoose: () => undefined,
  rawAddress: '/raw',
};

it('puts hostile output into the page as text', () => {
  const hostile = '\u001B[31m<script>alert(1)</script><img src=x onerror=alert(1)>';
  const { container } = render(<LogLineRow {...line} text={hostile} />);
  expect(container.querySelector('script, img')).toBeNull();
  expect(container.textContent).toBe('12<script>alert(1)</script><img src=x onerror=alert(1)>');
  expect(container.querySelector('.ansi-red-fg')).not.toBeNull();
});

it('says how much of a long line is not shown, and where it is', () => {
  const { getByText } = render(<LogLineRow {...line} text="xxxx" hidden={52_420_800} />);
  expect(getByText(/52\s420\s800 more characters/)).toBeTruthy();
  expect(getByText('download the raw log').getAttribute('href')).toBe('/raw');
});

it('is linked to by its number', () => {
  const chosen: number[] = [];
  const { getByRole } = render(<LogLineRow {...line} onChoose={(number) => chosen.push(number)} />);
  const link = getByRole('link', { name: 'Line 12' });
  expect(link.getAttribute('href')).toBe('#L12');
  fireEvent.click(link);
  expect(chosen).toEqual([12]);
});
