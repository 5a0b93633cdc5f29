// SPDX-License-Identifier: Apache-2.0
// Trees of files under the cache: made once in a temporary folder and renamed, read-only ever after, checked on each use.

import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, lutimesSync, readdirSync, utimesSync } from 'node:fs';
import { mkdir, readFile, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import type { Json } from '../core/encoding/strict-json.ts';
import { BUILDER } from './faults.ts';
import { removeTree } from './remove-tree.ts';
import { giveToStepUser } from './step-user.ts';

export interface TreeRecipe<I extends Json> {
  readonly cache: string;
  /** All that the tree is made from: the same key, the same tree. */
  readonly key: Json;
  /** Called when the tree has to be made; must bring its parts into the store. */
  readonly prepare: () => Promise<void>;
  /** Fills a folder and returns what is to be remembered of it. */
  readonly make: (folder: string) => Promise<I>;
  /** Time of folders and links, seconds since 1970. */
  readonly time: number;
}

/** A tree that was checked just now. */
export interface SealedTree<I extends Json> {
  /** On the host. */
  readonly folder: string;
  /** Digest of all that it is made from. */
  readonly key: string;
  readonly index: I;
}

interface Sealed<I> {
  /** Digest over what lstat says of each file of the tree. */
  readonly sealSha256: string;
  readonly index: I;
}

/**
 * Gives a tree, from the cache if it is there and untouched.
 * @throws SANDBOX_ROOT_UNPACKABLE, and what `prepare` and `make` throw
 */
export async function openTree<I extends Json>(recipe: TreeRecipe<I>): Promise<SealedTree<I>> {
  const key = createHash('sha256').update(canonicalJsonBytes(recipe.key)).digest('hex');
  const folder = join(recipe.cache, 'roots', key);
  const cached = await readTree<I>(folder, key);
  if (cached !== undefined) return cached;
  await recipe.prepare();
  const beside = join(recipe.cache, 'roots', `new-${randomBytes(8).toString('hex')}`);
  try {
    const tree = join(beside, 'root');
    await mkdir(tree, { recursive: true });
    const index = await recipe.make(tree);
    normalizeTree(tree, recipe.time);
    giveToStepUser(tree);
    const sealed: Sealed<I> = { sealSha256: sealTree(tree), index };
    await writeFile(join(beside, 'index.json'), JSON.stringify(sealed));
    const theirs = await placeTree<I>(beside, folder, key);
    if (theirs !== undefined) return theirs;
  } finally {
    await removeTree(beside);
  }
  const made = await readTree<I>(folder, key);
  if (made === undefined) {
    throw BUILDER.unavailable('SANDBOX_ROOT_UNPACKABLE', 'expected the tree just made, got another');
  }
  return made;
}

/** The cached tree, or undefined if it is not there or is not as it was left. */
async function readTree<I extends Json>(folder: string, key: string): Promise<SealedTree<I> | undefined> {
  try {
    const sealed = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as Sealed<I>;
    if (sealed.sealSha256 !== sealTree(join(folder, 'root'))) return undefined;
    return { folder: join(folder, 'root'), key, index: sealed.index };
  } catch {
    // Missing or damaged: it is made again from parts that are hashed again.
    return undefined;
  }
}

/** Puts a new tree in its place. If another build was faster its tree is used, which steps may be running on already. */
async function placeTree<I extends Json>(
  beside: string,
  folder: string,
  key: string,
): Promise<SealedTree<I> | undefined> {
  if (await renameTo(beside, folder)) return undefined;
  const theirs = await readTree<I>(folder, key);
  if (theirs !== undefined) return theirs;
  // Damaged, and yet a step may be running on it: set aside for the sweep, which goes by this time.
  const now = new Date();
  await utimes(folder, now, now).catch(ignoreAbsence);
  await rename(folder, `${beside}-old`).catch(ignoreAbsence);
  await renameTo(beside, folder);
  return undefined;
}

/** False if there is a folder already: one cannot be renamed over another. */
async function renameTo(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false;
    throw cause;
  }
}

function ignoreAbsence(cause: NodeJS.ErrnoException): void {
  if (cause.code !== 'ENOENT') throw cause;
}

/** The same tree whoever unpacked it: no privileged bits, every folder usable by its owner, folder times fixed. */
function normalizeTree(folder: string, time: number): void {
  for (const path of walk(folder)) {
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) {
      lutimesSync(path, time, time);
      continue;
    }
    const mode = (stat.mode & 0o755) | (stat.isDirectory() ? 0o755 : 0o444);
    if ((stat.mode & 0o7777) !== mode) chmodSync(path, mode);
    if (stat.isDirectory()) utimesSync(path, time, time);
  }
}

const BIGINT = { bigint: true } as const;
const [S_IFMT, S_IFDIR] = [0o170000n, 0o040000n];

/** What lstat says of every file, as one digest. Change times cannot be set, so content cannot change unseen. */
function sealTree(folder: string): string {
  const hash = createHash('sha256');
  // Every build does this for every file of every root, hence no step more than it takes.
  const seal = (path: string, below: string): void => {
    const stat = lstatSync(path, BIGINT);
    const isFolder = (stat.mode & S_IFMT) === S_IFDIR;
    // A folder's change time moves when a sandbox mounts on it or a link to it is made; its list of names does not.
    const changed = isFolder ? '' : `${stat.ctimeNs} ${stat.ino} ${stat.size}`;
    lines += `${below}\0${stat.mode} ${stat.mtimeNs} ${changed}\n`;
    if (!isFolder) return;
    for (const name of readdirSync(path).sort()) seal(`${path}/${name}`, `${below}/${name}`);
    hash.update(lines);
    lines = '';
  };
  let lines = '';
  seal(folder, '');
  return hash.update(lines).digest('hex');
}

/** The folder itself and everything below it, parents before children, in a fixed order. */
function* walk(folder: string): Generator<string> {
  yield folder;
  const entries = readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else yield path;
  }
}
