// SPDX-License-Identifier: Apache-2.0
// What killed builds left: in the cache, where builds under way look the same, hence the age; and control groups, which say whose they are.

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ControlGroup } from './control-group.ts';
import { removeTree } from './remove-tree.ts';

/** Longer than any build: a step may run for a day. */
const LEFTOVER_AGE_MS = 2 * 24 * 3600 * 1000;

/**
 * Removes unfinished downloads, trees and work folders of builds that ended long ago without tidying up, and control groups of any that
 * ended so.
 */
export async function sweepLeftovers(cache: string): Promise<void> {
  await ControlGroup.sweep();
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
