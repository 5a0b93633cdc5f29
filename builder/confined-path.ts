// SPDX-License-Identifier: Apache-2.0
// Files below a folder whose links the host follows: one that leads out of the folder, onto the host, leads nowhere.

import { readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The path without links of what a path below a folder leads to, relative to the folder; undefined if that is not below it. */
export function followBelow(folder: string, path: string): string | undefined {
  try {
    const top = realpathSync.native(folder);
    const real = realpathSync.native(join(folder, path));
    return real.startsWith(`${top}/`) ? real.slice(top.length + 1) : undefined;
  } catch {
    return undefined;
  }
}

/** A file below a folder; undefined if there is none to be read. */
export function readBelow(folder: string, path: string): Buffer | undefined {
  const real = followBelow(folder, path);
  try {
    return real === undefined ? undefined : readFileSync(join(folder, real));
  } catch {
    return undefined;
  }
}

/** Whether `readBelow` would read a file. */
export function isFileBelow(folder: string, path: string): boolean {
  const real = followBelow(folder, path);
  return real !== undefined && statSync(join(folder, real)).isFile();
}
