// SPDX-License-Identifier: Apache-2.0
// What killed builds left in the cache. Builds under way look the same, hence the age.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from './remove-tree.ts';

/** Longer than any build: a step may run for a day. */
const LEFTOVER_AGE_MS = 2 * 24 * 3600 * 1000;

/** Removes unfinished downloads, trees and work folders of builds that ended long ago without tidying up. */
export async function sweepLeftovers(cache: string): Promise<void> {
  for (const [folder, mark] of [
    ['work', ''],
    ['roots', 'new-'],
    ['store/sha256', 'new-'],
  ] as const) {
    const path = join(cache, folder);
    for (const name of await readdir(path).catch(() => [])) {
      if (!name.startsWith(mark)) continue;
      // Somebody else's sweep may be faster.
      const found = await stat(join(path, name)).catch(() => undefined);
      if (found === undefined || Date.now() - found.mtimeMs <= LEFTOVER_AGE_MS) continue;
      // What cannot be removed is in nobody's way.
      await removeTree(join(path, name)).catch(() => undefined);
    }
  }
}
