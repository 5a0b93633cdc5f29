// SPDX-License-Identifier: Apache-2.0
// The root file system of a step: the locked packages of its inputs, unpacked once into the cache and read-only ever
// after. Keyed by the packages' digests; made in a temporary folder and renamed; checked on each use.

import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, lutimesSync, readdirSync, utimesSync } from 'node:fs';
import { lstat, mkdir, readFile, realpath, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import { quote } from '../core/faults.ts';
import { BUILDER } from './faults.ts';
import type { LockedPackage } from './lock-file.ts';
import { removeTree } from './remove-tree.ts';
import { giveToStepUser } from './step-user.ts';
import { type ContentStore, hashFile } from './store.ts';
import { unpackPackage } from './unpack.ts';

/** Raised when the same packages would give another tree, so that old cached roots are not used. */
const LAYOUT = 3;

/** A root file system that was checked just now. */
export interface StepRoot {
  /** The tree, on the host. */
  readonly folder: string;
  /** Which package each file (not folder) came from, by path without leading slash. */
  readonly owners: ReadonlyMap<string, LockedPackage>;
}

export interface RootOptions {
  readonly cache: string;
  readonly store: ContentStore;
  /** Called when the tree has to be made; must bring the packages into the store. */
  readonly fetch: (packages: readonly LockedPackage[]) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((text: string) => void) | undefined;
}

/** A file of a package as the root holds it. A link that leads out of the root, onto the host, leads nowhere. */
export async function readRootFile(root: StepRoot, path: string): Promise<Buffer | undefined> {
  try {
    const [folder, file] = await Promise.all([realpath(root.folder), realpath(join(root.folder, path))]);
    return file.startsWith(`${folder}/`) ? await readFile(file) : undefined;
  } catch {
    return undefined;
  }
}

interface RootIndex {
  /** Digest over what lstat says of each file of the tree. */
  readonly sealSha256: string;
  readonly files: Readonly<Record<string, readonly string[]>>;
}

/** The packages of several inputs as one set, sorted by name. @throws SANDBOX_ROOT_CONFLICT */
export function joinPackages(lists: readonly (readonly LockedPackage[])[]): LockedPackage[] {
  const joined = new Map<string, LockedPackage>();
  for (const entry of lists.flat()) {
    const other = joined.get(entry.name);
    if (other !== undefined && other.sha256 !== entry.sha256) {
      throw BUILDER.reject(
        'SANDBOX_ROOT_CONFLICT',
        `expected one version of ${entry.name}, got ${other.version} and ${entry.version}`,
      );
    }
    joined.set(entry.name, entry);
  }
  return [...joined.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Gives the root made of these packages, from the cache if it is there and untouched.
 * @throws SANDBOX_ROOT_CONFLICT, SANDBOX_ROOT_UNPACKABLE, SANDBOX_TOOL_MISSING, and what `fetch` throws
 */
export async function openRoot(packages: readonly LockedPackage[], options: RootOptions): Promise<StepRoot> {
  const key = createHash('sha256')
    .update(
      canonicalJsonBytes({ layout: LAYOUT, packages: packages.map(({ name, sha256 }) => [name, sha256]) }),
    )
    .digest('hex');
  const folder = join(options.cache, 'roots', key);
  const cached = await readRoot(folder, packages);
  if (cached !== undefined) return cached;
  await options.fetch(packages);
  options.onProgress?.(`unpacking ${packages.length} packages`);
  const beside = join(options.cache, 'roots', `new-${randomBytes(8).toString('hex')}`);
  try {
    await makeRoot(beside, packages, options);
    const theirs = await placeRoot(beside, folder, packages);
    if (theirs !== undefined) return theirs;
  } finally {
    await removeTree(beside);
  }
  const made = await readRoot(folder, packages);
  if (made === undefined) {
    throw BUILDER.unavailable('SANDBOX_ROOT_UNPACKABLE', 'expected the tree just made, got another');
  }
  return made;
}

/** Puts a new tree in its place. If another build was faster its tree is used, which steps may be running on already. */
async function placeRoot(
  beside: string,
  folder: string,
  packages: readonly LockedPackage[],
): Promise<StepRoot | undefined> {
  if (await renameTo(beside, folder)) return undefined;
  const theirs = await readRoot(folder, packages);
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

/** The cached tree, or undefined if it is not there or is not as it was left. */
async function readRoot(folder: string, packages: readonly LockedPackage[]): Promise<StepRoot | undefined> {
  let index: RootIndex;
  try {
    index = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as RootIndex;
    if (index.sealSha256 !== sealTree(join(folder, 'root'))) return undefined;
  } catch {
    // Missing or damaged: it is made again from packages that are hashed again.
    return undefined;
  }
  const owners = new Map<string, LockedPackage>();
  for (const entry of packages) for (const path of index.files[entry.name] ?? []) owners.set(path, entry);
  return { folder: join(folder, 'root'), owners };
}

async function makeRoot(
  folder: string,
  packages: readonly LockedPackage[],
  options: RootOptions,
): Promise<void> {
  const root = join(folder, 'root');
  await mkdir(root, { recursive: true });
  const files: Record<string, readonly string[]> = {};
  const claimed = new Map<string, string>();
  // base-files brings the links of a merged /usr, which must be there before anything goes through them.
  const first = packages.filter((entry) => entry.name === 'base-files');
  for (const entry of [...first, ...packages.filter((other) => !first.includes(other))]) {
    const path = options.store.path(entry.sha256);
    if ((await hashFile(path)) !== entry.sha256) {
      throw BUILDER.unavailable(
        'SANDBOX_ROOT_UNPACKABLE',
        `expected ${entry.name} as locked, got other bytes`,
      );
    }
    files[entry.name] = await unpackPackage(path, root, entry.name, options.signal);
    for (const file of files[entry.name] ?? []) {
      const other = claimed.get(file);
      if (other !== undefined) {
        throw BUILDER.reject(
          'SANDBOX_ROOT_CONFLICT',
          `expected each file in one package, got ${quote(file)} in ${other} and ${entry.name}`,
        );
      }
      claimed.set(file, entry.name);
    }
  }
  await completeRoot(root);
  normalizeTree(root);
  giveToStepUser(root);
  const index: RootIndex = { sealSha256: sealTree(root), files };
  await writeFile(join(folder, 'index.json'), JSON.stringify(index));
}

/** What maintainer scripts would have made and steps cannot do without, and the places that a sandbox mounts on. */
async function completeRoot(root: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    const [merged, top] = await Promise.all([exists(join(root, 'usr', name)), exists(join(root, name))]);
    if (merged && !top) await symlink(`usr/${name}`, join(root, name));
  }
  for (const name of ['proc', 'dev', 'tmp', 'build', 'materials', 'etc']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await writeFile(join(root, 'etc/passwd'), 'build:x:1000:1000:build:/build:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'build:x:1000:\n');
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost waybill\n');
  for (const name of ['passwd', 'group', 'hosts']) utimesSync(join(root, 'etc', name), 0, 0);
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** The same tree whoever unpacked it: no privileged bits, everything readable by all, folder times fixed, one owner. */
function normalizeTree(folder: string): void {
  for (const path of walk(folder)) {
    const stat = lstatSync(path);
    if (stat.isSymbolicLink()) {
      lutimesSync(path, 0, 0);
      continue;
    }
    const mode = (stat.mode & 0o755) | (stat.isDirectory() ? 0o755 : 0o444);
    if ((stat.mode & 0o7777) !== mode) chmodSync(path, mode);
    if (stat.isDirectory()) utimesSync(path, 0, 0);
  }
}

/** What lstat says of every file, as one digest. Change times cannot be set, so content cannot change unseen. */
function sealTree(folder: string): string {
  const hash = createHash('sha256');
  for (const path of walk(folder)) {
    const stat = lstatSync(path, { bigint: true });
    // A folder's change time moves when a sandbox mounts on it or a link to it is made; its list of names does not.
    const changed = stat.isDirectory() ? '' : `${stat.ctimeNs} ${stat.ino} ${stat.size}`;
    hash.update(`${path.slice(folder.length)}\0${stat.mode} ${stat.mtimeNs} ${changed}\n`);
  }
  return hash.digest('hex');
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
