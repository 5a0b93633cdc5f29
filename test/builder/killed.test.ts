// SPDX-License-Identifier: Apache-2.0
// A sample of test/long/killed-builds.test.ts: builds that are killed leave a cache that the next one can use.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { runKillRounds } from './killed-builds.ts';
import { makeSmallBuild, type SmallBuild } from './small-build.ts';

let small: SmallBuild;
beforeAll(async () => {
  small = await makeSmallBuild();
});
afterAll(() => small.close());

test('six rounds of two builders on one cache, killed at any moment', async () => {
  const { killed } = await runKillRounds(small, 6);
  expect(killed).toBeGreaterThan(0);
}, 900_000);
