// SPDX-License-Identifier: Apache-2.0
// Where a path leads inside a root file system, links followed as a process in there would, never onto the host.

import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** As many links as Linux follows. */
const LINK_COUNT_MAX = 40;

/**
 * The path without links, without leading slash; undefined if it leads nowhere. `root` is a folder, or says where a path without links is on the
 * host, for a root of several.
 */
export async function resolveInRoot(
  root: string | ((path: string) => string),
  path: string,
): Promise<string | undefined> {
  const onHost = typeof root === 'string' ? (inside: string) => join(root, inside) : root;
  const waiting = path.split('/').reverse();
  const done: string[] = [];
  let links = 0;
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done.pop();
      continue;
    }
    const at = onHost([...done, name].join('/'));
    const found = await lstat(at).catch(() => undefined);
    if (found === undefined || ++links > LINK_COUNT_MAX + path.length) return undefined;
    if (!found.isSymbolicLink()) {
      done.push(name);
      continue;
    }
    const target = await readlink(at);
    if (target.startsWith('/')) done.length = 0;
    waiting.push(...target.split('/').reverse());
  }
  return done.join('/');
}
