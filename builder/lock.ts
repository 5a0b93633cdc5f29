// SPDX-License-Identifier: Apache-2.0
// From the inputs of a definition to a lock, whole or one input at a time.

import { resolve } from 'node:path';
import { quote } from '../core/faults.ts';
import { AptArchive, type Archive } from './apt.ts';
import {
  type BuildDefinition,
  type DebianInput,
  describeInput,
  type InputDefinition,
  inputsSha256,
} from './definition.ts';
import { BUILDER } from './faults.ts';
import { addBlob } from './fetch.ts';
import type { FileInput, GitInput } from './inputs/declared.ts';
import { lockFolder } from './inputs/folder.ts';
import { GitObjects } from './inputs/git.ts';
import type { LockedFile, LockedGit } from './inputs/locked.ts';
import { lockImage } from './inputs/oci.ts';
import { lockWest } from './inputs/west.ts';
import { inputChanges } from './lock-changes.ts';
import {
  checkInputs,
  type Lock,
  type LockedDebian,
  type LockedInput,
  type LockedPackage,
  sortPackages,
} from './lock-file.ts';
import { findMirror, type MirrorChoice } from './mirror.ts';
import type { ContentStore } from './store.ts';

export interface LockOptions extends MirrorChoice {
  /** Folder of the definition; relative keyrings, folders and manifests start there. */
  readonly folder: string;
  /** Takes what was fetched to be hashed. Needed by every kind but `debian`. */
  readonly store?: ContentStore;
  readonly onProgress?: (text: string) => void;
}

/**
 * Resolves every input of a definition. Nothing but the store is written.
 * @throws LOCK_MIRROR_UNKNOWN, LOCK_MIRROR_UNREACHABLE, LOCK_KEYRING_UNREADABLE, LOCK_SIGNATURE_INVALID,
 *   LOCK_SUITE_MISMATCH, LOCK_PACKAGE_UNKNOWN, LOCK_CLOSURE_UNRESOLVABLE, SANDBOX_TOOL_MISSING, INPUT_…, FETCH_…
 */
export async function lockInputs(definition: BuildDefinition, options: LockOptions): Promise<Lock> {
  const archives = new Archives(options);
  const inputs: LockedInput[] = [];
  try {
    for (const input of definition.inputs) inputs.push(await lockInput(input, archives, options));
  } finally {
    await archives.close();
  }
  return { inputsSha256: inputsSha256(definition), inputs };
}

/** A lock of which one part was resolved again. */
export interface Upgrade {
  readonly lock: Lock;
  /** What changed, old → new, one line each. */
  readonly changes: readonly string[];
}

/**
 * Resolves one input again (`toolchain`), or one package of one (`toolchain/gcc-avr`) with what its new version needs; all else
 * stays as it is.
 * @throws LOCK_UPGRADE_UNKNOWN, LOCK_OUTDATED, and as `lockInputs`
 */
export async function upgradeLock(
  definition: BuildDefinition,
  lock: Lock,
  name: string,
  options: LockOptions,
): Promise<Upgrade> {
  const [inputName = '', packageName] = name.split('/');
  const input = definition.inputs.find((one) => one.name === inputName);
  const old = lock.inputs.find((one) => one.name === inputName);
  if (input === undefined)
    throw unknown(name, `an input (${definition.inputs.map((one) => one.name).join(', ')})`);
  checkInputs(
    { ...definition, inputs: definition.inputs.filter((one) => one !== input) },
    { ...lock, inputs: lock.inputs.filter((one) => one !== old) },
  );
  const archives = new Archives(options);
  try {
    const upgraded =
      packageName === undefined
        ? await lockInput(input, archives, options)
        : await upgradePackage(input, old, packageName, archives);
    const others = lock.inputs.filter((one) => one !== old);
    const inputs = [...others, upgraded].sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      lock: { inputsSha256: inputsSha256(definition), inputs },
      changes: inputChanges(old, upgraded),
    };
  } finally {
    await archives.close();
  }
}

function unknown(name: string, expected: string) {
  return BUILDER.reject('LOCK_UPGRADE_UNKNOWN', `expected ${expected} to upgrade, got ${quote(name)}`);
}

async function upgradePackage(
  input: InputDefinition,
  old: LockedInput | undefined,
  name: string,
  archives: Archives,
): Promise<LockedInput> {
  if (input.kind !== 'debian' || old?.kind !== 'debian') throw unknown(name, 'a package of a debian input');
  const locked = old.packages.find((entry) => entry.name === name);
  if (locked === undefined) throw unknown(name, `a locked package of input ${input.name}`);
  const archive = await archives.open(input);
  const others = old.packages.filter((entry) => entry !== locked);
  const fresh = new Map((await archive.resolve(input, [name], others)).map((entry) => [entry.name, entry]));
  const kept = old.packages.filter((entry) => !fresh.has(entry.name));
  const { inReleaseSha256, signers } = archive;
  return {
    ...old,
    definition: describeInput(input),
    inReleaseSha256,
    signers,
    packages: sortPackages([...kept, ...fresh.values()]),
  };
}

async function lockInput(
  input: InputDefinition,
  archives: Archives,
  options: LockOptions,
): Promise<LockedInput> {
  const locked = await resolveInput(input, archives, options);
  return { ...locked, definition: describeInput(input) };
}

async function resolveInput(
  input: InputDefinition,
  archives: Archives,
  options: LockOptions,
): Promise<LockedInput> {
  if (input.kind === 'debian') return lockDebian(input, archives, options);
  const { store, folder: base, signal, onProgress } = options;
  if (store === undefined) throw new Error(`locking input ${input.name} needs a store`);
  onProgress?.(`${input.name}: ${input.kind}`);
  switch (input.kind) {
    case 'file':
      return lockFile(input, store, signal);
    case 'folder':
      return lockFolder(input, base, store);
    case 'git':
      return lockGit(input, store, signal);
    case 'oci':
      return lockImage(input, store, signal);
    case 'west':
      return lockWest(input, { base, store, signal, onProgress });
  }
}

async function lockDebian(
  input: DebianInput,
  archives: Archives,
  options: LockOptions,
): Promise<LockedDebian> {
  const opened = await archives.open(input);
  const packages: LockedPackage[] = sortPackages(await opened.resolve(input));
  options.onProgress?.(`${input.name}: ${packages.length} packages`);
  const { inReleaseSha256, signers } = opened;
  return { name: input.name, kind: 'debian', suite: input.suite, inReleaseSha256, signers, packages };
}

async function lockFile(
  { name, url, sha256 }: FileInput,
  store: ContentStore,
  signal: AbortSignal | undefined,
): Promise<LockedFile> {
  const pinned = await addBlob(store, `input ${name}`, new URL(url), { signal, sha256 });
  return { name, kind: 'file', url, ...pinned };
}

async function lockGit(
  { name, url, commit, submodules }: GitInput,
  store: ContentStore,
  signal: AbortSignal | undefined,
): Promise<LockedGit> {
  const objects = await GitObjects.open(commit, signal);
  try {
    const archive = await objects.archive(url, commit, submodules !== false);
    const pinned = await store.add(`git ${name}`, archive.chunks);
    return { name, kind: 'git', url, commit, ...pinned, submodules: archive.submodules };
  } finally {
    await objects.close();
  }
}

/** Indexes that were fetched and verified: inputs of one archive share one. */
class Archives {
  readonly #options: LockOptions;
  readonly #opened = new Map<string, AptArchive>();

  constructor(options: LockOptions) {
    this.#options = options;
  }

  async open(input: DebianInput): Promise<AptArchive> {
    const archive = await describeArchive(input, this.#options);
    const key = JSON.stringify(archive);
    const known = this.#opened.get(key);
    if (known !== undefined) return known;
    this.#options.onProgress?.(`fetching the signed index of ${archive.distribution} ${archive.suite}`);
    const opened = await AptArchive.open(archive, this.#options.signal);
    this.#opened.set(key, opened);
    return opened;
  }

  async close(): Promise<void> {
    for (const archive of this.#opened.values()) await archive.close();
  }
}

async function describeArchive(input: DebianInput, options: LockOptions): Promise<Archive> {
  const { distribution, suite, architecture } = input;
  return {
    distribution,
    suite,
    architecture,
    components: [...input.components].sort(),
    keyring: resolve(options.folder, input.keyring),
    mirror: await findMirror(input, options),
  };
}
