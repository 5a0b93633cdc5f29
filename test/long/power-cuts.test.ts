// SPDX-License-Identifier: Apache-2.0
// A power cut after every single file operation of a log's run, past its first full tile; and at places all over a longer one, in which the
// database moves its files. `npm test` tries a sample. What was acknowledged is read from each disk, so the work grows as the square of the run.

import { expect, test } from 'vitest';
import { newFolder } from '../registry/log/log-folder.ts';
import { cutPower } from '../registry/log/power-cuts.ts';

test('no cut of a run loses what was acknowledged, or forks the log', async () => {
  expect(await cutPower(await newFolder(), 300)).toBeGreaterThan(3000);
});

test('nor does one of 600 over a run of 1000', async () => {
  expect(await cutPower(await newFolder(), 1000, 600)).toBeGreaterThan(1500);
});
