// SPDX-License-Identifier: Apache-2.0
// Hundreds of killed builds, two at once on one cache: never a corrupt cache, never half an output folder, never a process left over.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { runKillRounds } from '../builder/killed-builds.ts';
import { makeSmallBuild, type SmallBuild } from '../builder/small-build.ts';

const ROUNDS = 300;
let small: SmallBuild;
beforeAll(async () => {
  small = await makeSmallBuild();
});
afterAll(() => small.close());

test(`${ROUNDS} rounds of two builders on one cache, killed at any moment`, async () => {
  const { killed, finished } = await runKillRounds(small, ROUNDS);
  console.log(`${killed} builders were killed, ${finished} came to their end`);
  expect(killed).toBeGreaterThan(ROUNDS / 2);
});
