// SPDX-License-Identifier: Apache-2.0
// kill -9 under load, 3,000 times, and the whole registry a hundred times.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { killUnderLoad } from '../registry/log/kills.ts';

// A folder that every kill makes larger would be checked ever more slowly.
const ROUNDS = 30;
const KILLS = Number(process.env.WAYBILL_KILLS ?? 3000) / ROUNDS;

test.each(Array.from({ length: ROUNDS }, (_, round) => round))('log, round %i', async () => {
  const script = join(import.meta.dirname, '../registry/log/serve-log.ts');
  expect(
    await killUnderLoad((dataFolder, key) => [script, dataFolder, 'example', key], KILLS),
  ).toBeGreaterThan(KILLS);
});

test('registry', async () => {
  const waybill = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
  expect(await killUnderLoad((dataFolder) => [waybill, 'serve', dataFolder, '--json'], 100)).toBeGreaterThan(
    100,
  );
});
