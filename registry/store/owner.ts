// SPDX-License-Identifier: Apache-2.0
// Whose the files of a data folder are: its service runs as a user who could neither read nor replace what root wrote for it.

import { lchown, lstat, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';

const GROUP_MAY_READ = 0o040;

/**
 * Gives the files of root in a folder to whom the folder belongs. Keys that a group may read are left: they are handed to a service so
 * [docs/operating.md §Keys]. Does nothing for anybody but root, nor where there is no folder.
 */
export async function giveToOwner(folder: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const owner = await stat(folder).catch(() => undefined);
  if (owner === undefined || owner.uid === 0) return;
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { uid, mode, nlink } = await lstat(path);
    const isHanded = name.endsWith('.pem') && (mode & GROUP_MAY_READ) !== 0 && basename(folder) === 'keys';
    // One with another name too may be a file of the system that the owner put there.
    if (uid === 0 && nlink === 1 && !isHanded) await lchown(path, owner.uid, owner.gid);
  }
}

/** Changes keys and trust material of a data folder: what root makes there belongs to whom the folder belongs to, also where the work fails. */
export async function keepingOwner<T>(dataFolder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    for (const part of ['keys', 'trust', 'unbegun']) await giveToOwner(join(dataFolder, part));
  }
}
