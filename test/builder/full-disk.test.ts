// SPDX-License-Identifier: Apache-2.0
// A sample of test/long/full-disk.test.ts: a build on a full disk says so and leaves nothing.

import { expect, test } from 'vitest';
import { tryFullDisks, whyNoDisk } from './full-disk.ts';

test('disks of four sizes', async (context) => {
  const reason = whyNoDisk();
  if (reason !== undefined) return context.skip(reason);
  expect((await tryFullDisks(4)).length).toBeGreaterThan(1);
}, 900_000);
