// SPDX-License-Identifier: Apache-2.0
// Removing what a step left, even folders that it made unreadable or nested deeper than a path can say.

import { rm } from 'node:fs/promises';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import { runTool } from './host-tool.ts';

/** Removes a tree of our own; absence is fine. @throws BUILD_FOLDER_UNWRITABLE, SANDBOX_TOOL_MISSING */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (cause) {
    // Below a file there is no tree.
    if ((cause as NodeJS.ErrnoException).code === 'ENOTDIR') return;
    // These walk from folder to folder, where Node names every file by its whole path.
    await runTool('chmod', ['-R', 'u+rwX', '--', path]);
    const removed = await runTool('rm', ['-rf', '--', path]);
    if (removed.exitCode === 0) return;
    throw BUILDER.unavailable(
      'BUILD_FOLDER_UNWRITABLE',
      `expected to remove ${quote(path)}, got ${quote(removed.stderr.trim())}`,
      { cause },
    );
  }
}
