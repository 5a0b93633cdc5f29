// SPDX-License-Identifier: Apache-2.0
// Thirty thousand bent inputs for every parser of core, others each day.

import { describe, test } from 'vitest';
import { tryParser } from '../hostile/bend.ts';
import { PARSERS } from '../hostile/parsers.ts';

const TODAY = Math.floor(Date.now() / 86_400_000);

describe.each(Object.keys(PARSERS))('%s', (name) => {
  test('answers bent inputs', { timeout: 3_600_000 }, () => {
    tryParser(name, 1_000 + (TODAY % 10_000) * 30_000, 30_000);
  });
});
