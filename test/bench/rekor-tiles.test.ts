// SPDX-License-Identifier: Apache-2.0
// What a load says about ours and theirs.

import { expect, test } from 'vitest';
import { figuresOfLoad } from '../../bench/log/rekor-tiles.ts';
import { RIVALS } from '../../scripts/stock-clients.ts';

const ours = { answered: 500, count: 400, perSecond: 3000, p50Ms: 20, p99Ms: 40, cpuMs: 0.3 };
const theirs = { answered: 50, count: 40, perSecond: 200, p50Ms: 1000, p99Ms: 1500, cpuMs: 0.2 };

test('each value of a load stands beside theirs, and less is better except of a rate', () => {
  const load = { name: 'two clients', clientCount: 2, durationMs: 1000, ours };
  const figures = figuresOfLoad(load, theirs);
  expect(figures.map(({ name, value, rivalValue, met }) => [name, value, rivalValue, met])).toEqual([
    ['beside Rekor: two clients', 3000, 200, true],
    ['beside Rekor: two clients, p50', 20, 1000, true],
    ['beside Rekor: two clients, p99', 40, 1500, true],
    ["beside Rekor: two clients, server's CPU an entry", 0.3, 0.2, false],
  ]);
  for (const { rival } of figures) expect(rival).toBe(`rekor-tiles ${RIVALS['rekor-tiles'].version}`);
});
