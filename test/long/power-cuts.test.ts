// SPDX-License-Identifier: Apache-2.0
// A power cut after every single file operation of a log's run; `npm test` tries a sample.

import { expect, test } from 'vitest';
import { newFolder } from '../registry/log/log-folder.ts';
import { cutPower } from '../registry/log/power-cuts.ts';

test('no cut loses what was acknowledged, or forks the log', async () => {
  expect(await cutPower(await newFolder(), 1000)).toBeGreaterThan(5000);
});
