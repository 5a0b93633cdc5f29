// SPDX-License-Identifier: Apache-2.0
// kill -9 under load, a sample of test/long/killed-logs.test.ts. This says nothing of power cuts, which power-cut.test.ts does.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { killUnderLoad } from './kills.ts';

test('twenty kills lose nothing that was told, fork nothing, and leave a sound folder', {
  timeout: 240_000,
}, async () => {
  const script = join(import.meta.dirname, 'serve-log.ts');
  expect(await killUnderLoad((dataFolder, key) => [script, dataFolder, 'example', key], 20)).toBeGreaterThan(
    20,
  );
});
