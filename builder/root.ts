// SPDX-License-Identifier: Apache-2.0
// The root file system of a step: the locked packages of its inputs, unpacked once into the cache and read-only ever
// after. Keyed by the packages' digests; made in a temporary folder and renamed; checked on each use.

import { utimesSync } from 'node:fs';
import { lstat, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { linkAlternatives } from './alternatives.ts';
import { readBelow } from './confined-path.ts';
import { BUILDER } from './faults.ts';
import type { LockedPackage } from './lock-file.ts';
import { paced } from './paced.ts';
import { type PackageControl, readControl } from './package-control.ts';
import { openTree } from './sealed-tree.ts';
import { type ContentStore, hashFile } from './store.ts';
import { unpackPackage } from './unpack.ts';

/** Raised when the same packages would give another tree, so that old cached roots are not used. */
const LAYOUT = 6;

/** A root file system that was checked just now. */
export interface StepRoot {
  /** The tree, on the host. */
  readonly folder: string;
  /** Digest of all that it is made from. */
  readonly key: string;
  /** Which package each file (not folder) came from, by path without leading slash. */
  readonly owners: ReadonlyMap<string, LockedPackage>;
  /** What is known of each package from its file, by SHA-256. */
  readonly records: ReadonlyMap<string, PackageRecord>;
  /** The input that the root is, where it is an image: its files are the input's, whatever package manager brought them. */
  readonly image?: string;
}

/** Read of a package's file when the root was made. */
export type PackageRecord = {
  readonly control: PackageControl;
  /** Of the file; lower-case hex. */
  readonly sha512: string;
};

/** What is remembered of a root, by name of the package. */
type RootIndex = { [name: string]: PackageRecord & { readonly files: string[] } };

/** Files that Waybill writes into every root. */
export const MADE_FILES = ['etc/passwd', 'etc/group', 'etc/hosts'];

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
  return readBelow(root.folder, path);
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
  const tree = await openTree<RootIndex>({
    cache: options.cache,
    key: { layout: LAYOUT, packages: packages.map(({ name, sha256 }) => [name, sha256]) },
    prepare: () => options.fetch(packages),
    make: async (folder) => {
      options.onProgress?.(`unpacking ${packages.length} packages`);
      return makeRoot(folder, packages, options);
    },
    time: 0,
  });
  const owners = new Map<string, LockedPackage>();
  const records = new Map<string, PackageRecord>();
  for (const entry of packages) {
    const { files, ...record } = tree.index[entry.name] as RootIndex[string];
    for (const path of files) owners.set(path, entry);
    records.set(entry.sha256, record);
  }
  return { folder: tree.folder, key: tree.key, owners, records };
}

/** Returns what there is to remember of each package. */
async function makeRoot(
  root: string,
  packages: readonly LockedPackage[],
  options: RootOptions,
): Promise<RootIndex> {
  const index: RootIndex = {};
  const claimed = new Map<string, string>();
  const unpacked = paced(({ count, of }) => options.onProgress?.(`unpacked ${count} of ${of} packages`));
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
    const control = await readControl(path, options.signal);
    const sha512 = await hashFile(path, 'sha512');
    const files = await unpackPackage(path, root, entry.name, options.signal);
    index[entry.name] = { control, sha512, files };
    for (const file of files) {
      const other = claimed.get(file);
      if (other !== undefined) {
        throw BUILDER.reject(
          'SANDBOX_ROOT_CONFLICT',
          `expected each file in one package, got ${quote(file)} in ${other} and ${entry.name}`,
        );
      }
      claimed.set(file, entry.name);
    }
    unpacked({ count: Object.keys(index).length, of: packages.length });
  }
  await completeRoot(root);
  const stored = packages.map(({ name, sha256 }) => ({ name, file: options.store.path(sha256) }));
  for (const [name, links] of await linkAlternatives(root, stored)) index[name]?.files.push(...links);
  return index;
}

/** What maintainer scripts would have made and steps cannot do without, and the places that a sandbox mounts on. */
async function completeRoot(root: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    const [merged, top] = await Promise.all([exists(join(root, 'usr', name)), exists(join(root, name))]);
    if (merged && !top) await symlink(`usr/${name}`, join(root, name));
  }
  for (const name of ['proc', 'dev', 'tmp', 'build', 'materials', 'inputs', 'etc']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await writeFile(join(root, 'etc/passwd'), 'build:x:1000:1000:build:/build:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'build:x:1000:\n');
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost waybill\n');
  for (const path of MADE_FILES) utimesSync(join(root, path), 0, 0);
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
