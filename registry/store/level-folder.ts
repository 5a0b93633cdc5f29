// SPDX-License-Identifier: Apache-2.0
// The folder of a LevelDB database. LevelDB makes a new one file by file and syncs not all of them, so a power cut in between leaves what
// it cannot open again; and where its main file is lost it begins an empty database over the rest. Here a database is made beside its
// place, synced, and moved there whole; one that lacks its main file is not opened.

import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type DatabaseOptions, Level } from 'level';
import { printable, quote, Rejection } from '../../core/faults.ts';
import { STORE } from '../store-faults.ts';
import { storeFailure, syncFolder } from './durable-files.ts';

type Options = DatabaseOptions<string, Uint8Array>;

/** Names the file that names all others. */
const MAIN_FILE = 'CURRENT';

/** Of a new file system of ext's kind; the rest of it is empty. */
const LOST_AND_FOUND = 'lost+found';

/**
 * Opens the database of a folder; makes it if there is no such folder, or an empty one. A symbolic link to a folder is followed.
 * @throws REGISTRY_DATA_DAMAGED if there are files but no database, REGISTRY_DATA_MISSING if a link leads nowhere or something else than a folder is there, REGISTRY_FOLDER_MOUNTED
 *   if a new database would be the root of a file system, and what LevelDB and the file system throw
 */
export async function openLevelFolder(
  named: string,
  options: Options = {},
): Promise<Level<string, Uint8Array>> {
  const folder = await realFolder(named);
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

/** True if `openLevelFolder` failed since another process has the database open. */
export const isHeld = (failure: unknown): boolean => levelCause(failure)?.code === 'LEVEL_LOCKED';

/** True if `openLevelFolder` failed at what the files hold, not at reaching them. */
export function isDamaged(failure: unknown): boolean {
  if (failure instanceof Rejection) return failure.code === 'REGISTRY_DATA_DAMAGED';
  return levelCause(failure)?.code === 'LEVEL_CORRUPTION';
}

/** Any other failure of `openLevelFolder`, as REGISTRY_STORE_FAILED. What LevelDB says names the file and why: a permission, a full disk. */
export function openFailure(folder: string, failure: unknown): Error {
  const inner = levelCause(failure);
  const said = inner?.code?.startsWith('LEVEL_') ? ` (${printable(inner.message)})` : '';
  return storeFailure(`could not open ${quote(folder)}${said}`, inner ?? failure);
}

const levelCause = (failure: unknown): NodeJS.ErrnoException | undefined =>
  (failure as Error).cause as NodeJS.ErrnoException | undefined;

const isThere = (folder: string): Promise<boolean> =>
  stat(join(folder, MAIN_FILE)).then(
    () => true,
    () => false,
  );

/** The folder itself, made if it is not there: a database is made beside it, not beside a link to it. */
async function realFolder(named: string): Promise<string> {
  if (!(await isFolder(named))) await mkdir(named, { recursive: true });
  return realpath(named);
}

/** False if nothing is there. @throws REGISTRY_DATA_MISSING if something is, and no folder */
async function isFolder(named: string): Promise<boolean> {
  const found = await lstat(named).catch(unlessMissing);
  if (found === undefined) return false;
  const isLink = found.isSymbolicLink();
  const target = isLink ? await stat(named).catch(unlessNowhere) : found;
  if (typeof target === 'object' && target.isDirectory()) return true;
  // A disk that is not there, say; what is made in its place would be hidden by it later.
  const where = isLink ? `where the symbolic link ${quote(named)} leads` : quote(named);
  const got = typeof target === 'object' ? 'got a file' : target;
  throw STORE.reject('REGISTRY_DATA_MISSING', `expected a folder ${where}, ${got}`);
}

function unlessMissing(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== 'ENOENT') throw cause;
}

/** Where a link leads that does not lead to anything. */
function unlessNowhere(cause: NodeJS.ErrnoException): string {
  if (cause.code === 'ENOENT') return 'found none';
  if (cause.code === 'ENOTDIR') return 'got a way through a file';
  if (cause.code === 'ELOOP') return 'got links that lead in a circle';
  throw cause;
}

/**
 * True if there is a database in a folder, false if there is no such folder, or an empty one. Makes and opens nothing.
 * @throws REGISTRY_DATA_MISSING and REGISTRY_DATA_DAMAGED as `openLevelFolder`, REGISTRY_STORE_FAILED
 */
export async function hasDatabase(named: string): Promise<boolean> {
  try {
    return (await isFolder(named)) && (await holdsOne(named));
  } catch (cause) {
    if (cause instanceof Rejection) throw cause;
    throw storeFailure(`could not open ${quote(named)}`, cause);
  }
}

async function holdsOne(folder: string): Promise<boolean> {
  if (await isThere(folder)) return true;
  if ((await readdir(folder)).every((name) => name === LOST_AND_FOUND)) return false;
  throw STORE.reject(
    'REGISTRY_DATA_DAMAGED',
    `expected a database in ${quote(folder)}, found files without its ${MAIN_FILE}`,
  );
}

async function makeWhole(folder: string): Promise<void> {
  // Another process may have been sooner.
  if (await holdsOne(folder)) return;
  const [own, parent] = await Promise.all([stat(folder), stat(dirname(folder))]);
  if (own.dev !== parent.dev) throw mounted(folder);
  const beside = `${folder}.${randomBytes(6).toString('hex')}.new`;
  try {
    const level = new Level(beside);
    await level.open();
    await level.close();
    // By now LevelDB has synced what it reads when it is opened again; their names are left.
    await syncFolder(beside);
    await rename(beside, folder);
  } catch (cause) {
    await rm(beside, { recursive: true, force: true }).catch(() => undefined);
    const { code } = cause as NodeJS.ErrnoException;
    // Another place of the same file system is mounted there.
    if (code === 'EBUSY') throw mounted(folder, cause);
    if (code === 'ENOTEMPTY' || code === 'EEXIST') {
      const got = `got one with ${LOST_AND_FOUND} in it, which is no mount point: remove that`;
      throw STORE.reject('REGISTRY_DATA_DAMAGED', `expected an empty folder ${quote(folder)}, ${got}`);
    }
    throw cause;
  }
  await syncFolder(dirname(folder));
}

function mounted(folder: string, cause?: unknown): Error {
  return STORE.reject(
    'REGISTRY_FOLDER_MOUNTED',
    `expected an ordinary folder ${quote(folder)} for a new database, got a mount point`,
    { cause },
  );
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
