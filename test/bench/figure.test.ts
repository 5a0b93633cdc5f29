// SPDX-License-Identifier: Apache-2.0
// What a benchmark says about its own figures.

import { expect, test } from 'vitest';
import { figure, median, runsPerSecond } from '../../bench/figure.ts';

const given = { name: 'x', unit: 'ms', rival: 'y', value: 50, rivalValue: 100, target: 0.5 } as const;

test('the verdict follows from ratio, target and direction', () => {
  expect(figure({ ...given, better: 'smaller' })).toMatchObject({ ratio: 0.5, met: true });
  expect(figure({ ...given, better: 'larger' })).toMatchObject({ met: true });
  expect(figure({ ...given, value: 49, better: 'larger' })).toMatchObject({ met: false });
  expect(figure({ ...given, value: 51, better: 'smaller' })).toMatchObject({ met: false });
  expect(figure({ ...given, rivalValue: Number.NaN, better: 'larger' })).toMatchObject({ met: false });
});

test('the median is the middle, or the mean of the two middles', () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([1, 3, 5, 100])).toBe(4);
  expect(median([])).toBeNaN();
});

test('each function gets its own rate, in the order given', () => {
  const calls = [0, 0];
  const rates = runsPerSecond(
    calls.map((_, i) => () => {
      calls[i] = (calls[i] ?? 0) + 1;
    }),
    { rounds: 1, roundMs: 1 },
  );
  expect(rates).toHaveLength(2);
  expect(calls.every((count) => count >= 2)).toBe(true);
  expect(rates.every((rate) => rate > 0)).toBe(true);
});
