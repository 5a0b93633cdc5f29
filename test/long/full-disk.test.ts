// SPDX-License-Identifier: Apache-2.0
// Builds on disks that are full at any moment: never a corrupt cache, never half an output folder.

import { expect, test } from 'vitest';
import { tryFullDisks, whyNoDisk } from '../builder/full-disk.ts';

test('disks of a hundred sizes', async (context) => {
  const reason = whyNoDisk();
  if (reason !== undefined) return context.skip(reason);
  // Whoever was writing when the disk became full: a download, an unpacking, a step, the builder itself.
  expect(await tryFullDisks(100)).toEqual(
    expect.arrayContaining([
      'BUILD_FOLDER_UNWRITABLE',
      'FETCH_STORE_UNWRITABLE',
      'SANDBOX_ROOT_UNPACKABLE',
      'STEP_FAILED',
    ]),
  );
});
