// SPDX-License-Identifier: Apache-2.0
// Where a linker or compiler ran. Its map or depfile names files from there, and says nowhere where that is: `make -C firmware` runs
// them in another folder than `make`.

import { posix } from 'node:path';

/**
 * The folder, relative to /build, from which most of `names` are files: that of `output`, which the tool wrote, or one of those above it;
 * of equals the nearest to `output`. Without any file it is /build, ''.
 */
export function runFolder(
  workFiles: ReadonlyMap<string, string>,
  output: string,
  names: Iterable<string>,
): string {
  const relative = [...new Set(names)].filter((name) => !name.startsWith('/'));
  let [found, most] = ['', 0];
  const folders = output.split('/').slice(0, -1);
  for (let depth = folders.length; depth >= 0; depth--) {
    const folder = folders.slice(0, depth).join('/');
    const count = relative.filter((name) => workFiles.has(posix.join(folder, name))).length;
    if (count > most) [found, most] = [folder, count];
  }
  return found;
}
