// SPDX-License-Identifier: Apache-2.0
// The comparison of core with @sigstore/verify on changed bundles, a hundred times as long as in `npm test`.

import { expect, test } from 'vitest';
import { compare } from '../peers/differential.ts';
import { listedDifferences } from '../peers/listed-differences.ts';

test('100,000 changed bundles: nothing passes core that the library refuses', { timeout: 3_600_000 }, () => {
  const codes = listedDifferences().map(({ code }) => code);
  // In pieces: each has new keys of the forge, and its own seed.
  for (let seed = 1; seed <= 20; seed++) {
    const { looser, stricter } = compare(5000, 1000 + seed);
    expect(looser, `seed ${1000 + seed}`).toEqual([]);
    expect(
      Object.keys(stricter).filter((code) => !codes.includes(code)),
      `seed ${1000 + seed}`,
    ).toEqual([]);
  }
});
