// SPDX-License-Identifier: Apache-2.0
// Whoever makes keys in a data folder is alone there: two rotations would make one instance from the files of both, or the later write the
// trusted root over what the other said of a stolen key.

import { join } from 'node:path';
import { Database } from './store/database.ts';
import { removeLeftovers } from './store/durable-files.ts';

/** Does the work alone, after removing what writes that were broken off left. @throws REGISTRY_DATA_LOCKED, REGISTRY_STORE_FAILED */
export async function makingKeysAlone<T>(dataFolder: string, work: () => Promise<T>): Promise<T> {
  // An empty database: its lock ends with the process that holds it, however that ends.
  const lock = await Database.open(join(dataFolder, 'state', 'rotation'));
  try {
    // A copy of a private key may be among them.
    for (const folder of ['keys', 'trust', 'unbegun']) await removeLeftovers(join(dataFolder, folder));
    return await work();
  } finally {
    await lock.close();
  }
}
