// SPDX-License-Identifier: Apache-2.0
// The folder of a LevelDB database. LevelDB makes a new one file by file and syncs not all of them, so a power cut in between leaves what
// it cannot open again; and where its main file is lost it begins an empty database over the rest. Here a database is made beside its
// place, synced, and moved there whole; one that lacks its main file is not opened.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type DatabaseOptions, Level } from 'level';
import { quote } from '../../core/faults.ts';
import { STORE } from '../store-faults.ts';
import { syncFolder } from './durable-files.ts';

type Options = DatabaseOptions<string, Uint8Array>;

/** Names the file that names all others. */
const MAIN_FILE = 'CURRENT';

/**
 * Opens the database of a folder; makes it if there is no such folder, or an empty one.
 * @throws REGISTRY_DATA_DAMAGED if there are files but no database, and what LevelDB and the file system throw
 */
export async function openLevelFolder(
  folder: string,
  options: Options = {},
): Promise<Level<string, Uint8Array>> {
  if (!(await isThere(folder))) {
    await makeWhole(folder).catch(async (failure: unknown) => {
      // Another process may have been sooner.
      if (!(await isThere(folder))) throw failure;
    });
  }
  const level = new Level<string, Uint8Array>(folder, {
    keyEncoding: 'utf8',
    valueEncoding: 'view',
    ...options,
    createIfMissing: false,
  });
  await level.open();
  await removeUnfinished(folder);
  return level;
}

const isThere = (folder: string): Promise<boolean> =>
  stat(join(folder, MAIN_FILE)).then(
    () => true,
    () => false,
  );

async function makeWhole(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) {
    throw STORE.reject(
      'REGISTRY_DATA_DAMAGED',
      `expected a database in ${quote(folder)}, found files without its ${MAIN_FILE}`,
    );
  }
  const beside = `${folder}.${randomBytes(6).toString('hex')}.new`;
  const level = new Level(beside);
  await level.open();
  await level.close();
  // By now LevelDB has synced what it reads when it is opened again; their names are left.
  await syncFolder(beside);
  await rename(beside, folder);
  await syncFolder(dirname(folder));
}

/** What a power cut, or the slower of two processes, left beside. */
async function removeUnfinished(folder: string): Promise<void> {
  for (const name of await readdir(dirname(folder))) {
    const isOurs =
      name.startsWith(`${basename(folder)}.`) &&
      /^\.[0-9a-f]{12}\.new$/.test(name.slice(basename(folder).length));
    if (isOurs) await rm(join(dirname(folder), name), { recursive: true, force: true });
  }
}
