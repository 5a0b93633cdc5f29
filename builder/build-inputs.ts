// SPDX-License-Identifier: Apache-2.0
// The inputs of a build under way: what each step may see of them, fetched by digest and laid out once.

import { resolve } from 'node:path';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import type { BuildRequest } from './build.ts';
import type { DebianInput, InputDefinition, StepDefinition } from './definition.ts';
import { type Elsewhere, filesOfPackages, filesOfTree, outputsOfOthers } from './elsewhere.ts';
import { type BlobOptions, fetchBlobs, type Wanted, wantedPackage } from './fetch.ts';
import type { MountedTree } from './input-files.ts';
import { wantedBlobs } from './inputs/blobs.ts';
import type { MountedInput } from './inputs/declared.ts';
import { dependenciesOf } from './inputs/dependencies.ts';
import { folderDifferences } from './inputs/folder.ts';
import type { LockedMounted } from './inputs/locked.ts';
import { openInput } from './inputs/mount.ts';
import { openImageRoot } from './inputs/oci.ts';
import { debianInputs, type LockedInput, type LockedPackage, outdated } from './lock-file.ts';
import { checkMirror, findMirror } from './mirror.ts';
import { paced } from './paced.ts';
import { packageUrl } from './package-url.ts';
import { joinPackages, openRoot, type StepRoot } from './root.ts';
import type { SealedTree } from './sealed-tree.ts';
import type { StepFacts } from './statements.ts';
import { ContentStore, hashFile } from './store.ts';

/** An input with what is locked of it. */
interface Pair {
  readonly input: InputDefinition;
  readonly locked: LockedInput;
}

/** A folder that a step sees at /inputs/<name>. */
export interface MountedInputTree extends MountedTree {
  /** Digest of all that it is made from. */
  readonly key: string;
}

/** What is under way or done already is not begun again: steps that run at one time share their inputs. */
function once<T>(known: Map<string, Promise<T>>, name: string, begin: () => Promise<T>): Promise<T> {
  const begun = known.get(name) ?? begin();
  known.set(name, begun);
  return begun;
}

/** By which a root is known in a build. */
function rootName(packages: readonly LockedPackage[]): string {
  return packages.map(({ sha256 }) => sha256).join();
}

function isMounted(input: InputDefinition): input is MountedInput {
  return input.kind !== 'debian' && input.kind !== 'oci';
}

async function notForHints(): Promise<never> {
  throw new Error('nothing is fetched for a hint');
}

export class BuildInputs {
  fetchedSizeBytes = 0;
  readonly #request: BuildRequest;
  readonly #fit: Promise<unknown>;
  readonly #store: ContentStore;
  readonly #archive: ContentStore | undefined;
  readonly #roots = new Map<string, Promise<StepRoot>>();
  readonly #mounts = new Map<string, Promise<SealedTree<null>>>();
  readonly #mirrors = new Map<string, Promise<string>>();

  /** The lock has been checked against the definition. Nothing is fetched or unpacked before `fit`, or if that fails. */
  constructor(request: BuildRequest, fit: Promise<unknown>) {
    this.#request = request;
    this.#fit = fit;
    this.#store = new ContentStore(request.cache);
    this.#archive = request.archive === undefined ? undefined : ContentStore.archive(request.archive);
  }

  /**
   * What must be so before the first step: folders beside the definition are as locked, and an archive, if there is one, holds
   * every input. @throws LOCK_OUTDATED, INPUT_…, FETCH_…
   */
  async prepare(): Promise<void> {
    const { definition, lock, folder } = this.#request;
    if (folder !== undefined) await checkFolders(lock.inputs, folder);
    if (this.#archive !== undefined) {
      await this.#fetch(this.#request.lock.inputs.flatMap((locked) => this.#wantedOf(locked)));
    }
    const [first] = definition.steps;
    if (first === undefined) return;
    const packages = this.describe(first).packages.map(({ entry }) => entry);
    // The step will wait for it, and hear what is wrong with it.
    this.openRoot(first, packages).catch(() => {});
  }

  /** Packages with roles, and dependencies of other kinds, of a step. @throws SANDBOX_ROOT_CONFLICT */
  describe(step: StepDefinition): Pick<StepFacts, 'packages' | 'dependencies'> {
    const pairs = this.#pairsOf(step);
    const named = new Set<string>();
    const distribution = new Map<LockedPackage, string>();
    const lists: (readonly LockedPackage[])[] = [];
    const dependencies: ResourceDescriptor[] = [];
    for (const { input, locked } of pairs) {
      if (input.kind === 'debian' && locked.kind === 'debian') {
        if (input.role === 'source') for (const name of input.packages) named.add(name);
        for (const entry of locked.packages) distribution.set(entry, input.distribution);
        lists.push(locked.packages);
      } else if (input.kind !== 'debian' && locked.kind !== 'debian') {
        dependencies.push(...dependenciesOf(input, locked));
      }
    }
    const packages = joinPackages(lists).map((entry) => ({
      entry,
      url: packageUrl(distribution.get(entry) ?? 'debian', entry),
      role: named.has(entry.name) ? ('source' as const) : ('toolchain' as const),
    }));
    return { packages, dependencies };
  }

  /** The root file system of a step, checked once a build. @throws SANDBOX_ROOT_…, FETCH_…, INPUT_… */
  openRoot(step: StepDefinition, packages: readonly LockedPackage[]): Promise<StepRoot> {
    const image = this.#pairsOf(step).find(({ locked }) => locked.kind === 'oci')?.locked;
    const name = image?.name ?? rootName(packages);
    const { cache, signal } = this.#request;
    const store = this.#store;
    const onProgress = (text: string) => this.#progress(text);
    return once(this.#roots, name, () =>
      image?.kind === 'oci'
        ? openImageRoot(image, {
            cache,
            store,
            onProgress,
            fetch: () => this.#fetch(this.#wantedOf(image)),
          })
        : openRoot(packages, {
            cache,
            store,
            signal,
            onProgress,
            fetch: (wanted) => this.#fetch(wanted.map((entry) => this.#wantedPackage(entry))),
          }),
    );
  }

  /** The folders that a step sees at /inputs/<name>. @throws FETCH_…, INPUT_… */
  async openMounts(step: StepDefinition): Promise<MountedInputTree[]> {
    const mounts: MountedInputTree[] = [];
    for (const { input, locked } of this.#pairsOf(step)) {
      if (input.kind === 'debian' || input.kind === 'oci') continue;
      if (locked.kind === 'debian' || locked.kind === 'oci') continue;
      const { folder, key } = await once(this.#mounts, input.name, () => {
        const fetch = () => this.#fetch(this.#wantedOf(locked));
        const cache = this.#request.conditions?.inputFolder ?? this.#request.cache;
        const onProgress = (text: string) => this.#progress(text);
        return openInput(input, locked, { cache, store: this.#store, onProgress, fetch });
      });
      mounts.push({ name: input.name, folder, key });
    }
    return mounts;
  }

  /**
   * Files that a step has elsewhere than where it may have looked, and those of inputs and steps that it does not list, as far as they
   * are on this machine: nothing is fetched for a hint.
   */
  async elsewhere(step: StepDefinition): Promise<Elsewhere[]> {
    const { definition, lock } = this.#request;
    const found: Elsewhere[] = [];
    for (const { input, locked } of this.#pairsOf({ inputs: definition.inputs.map(({ name }) => name) })) {
      const isListed = step.inputs.includes(input.name);
      if (input.kind === 'debian' && !isListed) {
        const { packages } = debianInputs(lock).find(({ name }) => name === input.name) ?? { packages: [] };
        for (const root of await this.#rootsAtHand(step))
          found.push(filesOfPackages(input.name, packages, root));
      } else if (isMounted(input) && locked.kind !== 'debian' && locked.kind !== 'oci') {
        const tree = await this.#treeAtHand(input, locked);
        if (tree !== undefined) found.push(filesOfTree({ name: input.name, folder: tree.folder }, isListed));
      }
    }
    return [...found, outputsOfOthers(definition.steps, step)];
  }

  /** Roots of other steps that are laid out. */
  async #rootsAtHand(step: StepDefinition): Promise<StepRoot[]> {
    const others = this.#request.definition.steps.filter(({ name }) => name !== step.name);
    const roots = new Map<string, StepRoot>();
    for (const other of others) {
      const packages = this.describe(other).packages.map(({ entry }) => entry);
      const image = this.#pairsOf(other).some(({ locked }) => locked.kind === 'oci');
      const root = image ? undefined : await this.#rootAtHand(packages);
      if (root !== undefined) roots.set(root.key, root);
    }
    return [...roots.values()];
  }

  #rootAtHand(packages: readonly LockedPackage[]): Promise<StepRoot | undefined> {
    const { cache } = this.#request;
    const opened = this.#roots.get(rootName(packages));
    return (opened ?? openRoot(packages, { cache, store: this.#store, fetch: notForHints })).catch(
      () => undefined,
    );
  }

  async #treeAtHand(input: MountedInput, locked: LockedMounted): Promise<SealedTree<null> | undefined> {
    const fetch = async () => {
      const wanted = this.#wantedOf(locked);
      const held = await Promise.all(wanted.map((one) => this.#store.holds(one)));
      if (held.includes(false)) await notForHints();
    };
    const options = { cache: this.#request.cache, store: this.#store, fetch };
    return (this.#mounts.get(input.name) ?? openInput(input, locked, options)).catch(() => undefined);
  }

  #pairsOf(step: Pick<StepDefinition, 'inputs'>): Pair[] {
    const { definition, lock } = this.#request;
    return definition.inputs
      .filter(({ name }) => step.inputs.includes(name))
      .map((input) => {
        const locked = lock.inputs.find(({ name }) => name === input.name);
        if (locked === undefined) throw new Error(`input ${input.name} was checked to be locked`);
        return { input, locked };
      });
  }

  #wantedOf(locked: LockedInput): Wanted[] {
    if (locked.kind === 'debian') return locked.packages.map((entry) => this.#wantedPackage(entry));
    return wantedBlobs(locked, this.#request.folder);
  }

  #wantedPackage(entry: LockedPackage): Wanted {
    const { snapshot } = this.#request;
    const input = this.#inputOf(entry);
    return wantedPackage(entry, {
      input: input.name,
      mirrorOf: () => this.#mirrorOf(input),
      snapshot: snapshot === undefined ? undefined : checkMirror(snapshot),
    });
  }

  #inputOf(entry: LockedPackage): DebianInput {
    const { lock, definition } = this.#request;
    const holder = debianInputs(lock).find(({ packages }) => packages.includes(entry));
    const input = definition.inputs.find(
      (one): one is DebianInput => one.kind === 'debian' && one.name === holder?.name,
    );
    if (input === undefined) throw new Error(`package ${entry.name} of no input`);
    return input;
  }

  /** The mirror of an input, found once. */
  #mirrorOf(input: DebianInput): Promise<string> {
    return once(this.#mirrors, input.name, () => findMirror(input, this.#request));
  }

  async #fetch(wanted: readonly Wanted[]): Promise<void> {
    await this.#fit;
    const { registry, signal } = this.#request;
    const options: BlobOptions = {
      archive: this.#archive,
      registry: registry === undefined ? undefined : checkMirror(registry),
      signal,
      onProgress: paced(({ count, of, sizeBytes }) =>
        this.#progress(`fetched ${count} of ${of} inputs, ${(sizeBytes / 1e6).toFixed(1)} MB`),
      ),
    };
    this.fetchedSizeBytes += (await fetchBlobs(this.#store, wanted, options)).fetchedSizeBytes;
  }

  #progress(text: string): void {
    this.#request.onEvent?.({ kind: 'progress', text });
  }
}

/**
 * Refuses what lies beside the definition and is not as it was locked: folders and west manifests. One that is gone may still be in
 * an archive. @throws LOCK_OUTDATED, INPUT_FOLDER_UNREADABLE
 */
export async function checkFolders(inputs: readonly LockedInput[], base: string): Promise<void> {
  for (const locked of inputs) {
    if (locked.kind === 'folder') {
      const found = (await folderDifferences(locked, base)) ?? [];
      if (found.length > 0) throw outdated(found.map((text) => `folder ${locked.name}: ${text}`));
    }
    const manifest = locked.definition?.manifest;
    if (locked.kind !== 'west' || typeof manifest !== 'string' || locked.definition?.url !== undefined)
      continue;
    const digest = await hashFile(resolve(base, manifest)).catch(() => locked.manifestSha256);
    if (digest !== locked.manifestSha256) throw outdated([`input ${locked.name}: ${manifest} changed`]);
  }
}
