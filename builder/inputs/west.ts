// SPDX-License-Identifier: Apache-2.0
// The projects of a west manifest [west-manifests-1.5 §projects], with imports and binary blobs, resolved to commits.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { quote } from '../../core/faults.ts';
import { addBlob } from '../fetch.ts';
import type { ContentStore } from '../store.ts';
import { refuseLocation, type WestInput } from './declared.ts';
import { GitObjects } from './git.ts';
import type { LockedBlob, LockedProject, LockedWest } from './locked.ts';
import {
  type Import,
  isImported,
  type Manifest,
  type Project,
  parseManifest,
  parseModuleBlobs,
  westUnusable,
} from './west-manifest.ts';

export interface WestOptions {
  /** The folder of the definition. */
  readonly base: string;
  readonly store: ContentStore;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((text: string) => void) | undefined;
}

/** Reads files of one commit, or of the folder of the definition. */
interface Source {
  /** Tells sources apart, to find circles. */
  readonly key: string;
  read(path: string): Promise<Uint8Array | undefined>;
  list(folder: string): Promise<readonly string[]>;
}

interface Resolved extends Project {
  readonly commit: string;
}

/** Pins every active project of a manifest. @throws INPUT_WEST_UNUSABLE, INPUT_GIT_UNUSABLE, FETCH_… */
export async function lockWest(input: WestInput, options: WestOptions): Promise<LockedWest> {
  const resolver = new Resolver(input, options);
  try {
    return await resolver.lock();
  } finally {
    await resolver.close();
  }
}

/** Whether a project is asked for, by its name and its place in the workspace. */
type Wanted = (project: Pick<Project, 'name' | 'path'>) => boolean;

/** Prefixes add up. */
const joined = (...parts: readonly (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined && part !== '').join('/');

class Resolver {
  readonly #input: WestInput;
  readonly #options: WestOptions;
  readonly #repositories = new Map<string, GitObjects>();
  /** The first to define a name defines it. */
  readonly #projects = new Map<string, Resolved>();
  /** `+group` and `-group`, the last word last. */
  #filter: string[] = [];

  constructor(input: WestInput, options: WestOptions) {
    this.#input = input;
    this.#options = options;
  }

  async close(): Promise<void> {
    for (const repository of this.#repositories.values()) await repository.close();
  }

  async lock(): Promise<LockedWest> {
    const { url, commit, manifest: path, name } = this.#input;
    const source = url === undefined || commit === undefined ? this.#beside() : await this.#at(url, commit);
    const bytes = await source.read(path);
    if (bytes === undefined) throw westUnusable(name, `expected the manifest ${quote(path)}, got none`);
    const manifest = parseManifest(bytes, `${name}: ${path}`);
    if (url !== undefined && commit !== undefined) {
      // The manifest's own repository is a project, too: in Zephyr's own workspace it is Zephyr.
      const own =
        manifest.selfPath ?? (url.replace(/\/+$/, '').split('/').at(-1) ?? '').replace(/\.git$/, '');
      const project = { name: 'manifest', url, revision: commit, path: own, groups: [], submodules: false };
      this.#projects.set('manifest', { ...project, commit });
    }
    await this.#load(manifest, source, [`${source.key} ${path}`], '', () => true);
    this.#filter.push(...manifest.groupFilter);
    const active = [...this.#projects.values()].filter((project) => this.#isActive(project));
    const projects: LockedProject[] = [];
    for (const project of active.sort((a, b) => (a.path < b.path ? -1 : 1))) {
      this.#options.onProgress?.(`${name}: ${project.name}`);
      projects.push(await this.#pack(project));
    }
    return {
      name,
      kind: 'west',
      manifestSha256: createHash('sha256').update(bytes).digest('hex'),
      projects,
      blobs: await this.#blobs(active),
    };
  }

  async #load(
    manifest: Manifest,
    source: Source,
    chain: readonly string[],
    prefix: string,
    wanted: Wanted,
  ): Promise<void> {
    for (const own of manifest.selfImports)
      await this.#import(own, source, chain, joined(prefix, own.pathPrefix), wanted);
    const added: Resolved[] = [];
    for (const project of manifest.projects) {
      const path = joined(prefix, project.pathPrefix, project.path);
      if (!wanted({ name: project.name, path }) || this.#projects.has(project.name)) continue;
      const refused = refuseLocation(project.url, ['https:', 'ssh:', 'file:']);
      if (refused !== undefined) throw westUnusable(this.#input.name, `${quote(project.name)}: ${refused}`);
      const repository = await this.#repository('0'.repeat(40), 'names');
      const commit = await repository.resolve(project.url, project.revision);
      const resolved = { ...project, path, commit };
      this.#projects.set(project.name, resolved);
      added.push(resolved);
    }
    for (const project of added) {
      for (const one of project.imports ?? []) {
        const from = await this.#at(project.url, project.commit);
        await this.#import(one, from, chain, joined(prefix, one.pathPrefix), wanted);
      }
    }
  }

  /** A file, or every manifest of a folder in the order of their names. */
  async #import(
    one: Import,
    source: Source,
    chain: readonly string[],
    prefix: string,
    wanted: Wanted,
  ): Promise<void> {
    const files = (await source.list(one.file)).filter((path) => /\.ya?ml$/.test(path)).sort();
    for (const path of files.length === 0 ? [one.file] : files) {
      const key = `${source.key} ${path}`;
      if (chain.includes(key))
        throw westUnusable(this.#input.name, `expected imports without a circle, got ${quote(path)} again`);
      const bytes = await source.read(path);
      if (bytes === undefined)
        throw westUnusable(this.#input.name, `expected the import ${quote(path)}, got none`);
      const manifest = parseManifest(bytes, `${this.#input.name}: ${path}`);
      this.#filter.push(...manifest.groupFilter);
      const allowed: Wanted = (project) => wanted(project) && isImported(one, project);
      await this.#load(manifest, source, [...chain, key], prefix, allowed);
    }
  }

  #isActive({ groups }: Project): boolean {
    const off = (group: string) => this.#filter.filter((word) => word.slice(1) === group).at(-1)?.[0] === '-';
    return groups.length === 0 || groups.some((group) => !off(group));
  }

  async #pack(project: Resolved): Promise<LockedProject> {
    const { url, commit, path } = project;
    const repository = await this.#repository(commit, `${url} ${commit}`);
    const { submodules, chunks } = await repository.archive(url, commit, project.submodules);
    const pinned = await this.#options.store.add(`project ${project.name}`, chunks);
    return { project: project.name, path, url, commit, ...pinned, submodules };
  }

  async #blobs(active: readonly Resolved[]): Promise<LockedBlob[]> {
    const found: LockedBlob[] = [];
    for (const name of this.#input.blobs ?? []) {
      const project = active.find((one) => one.name === name);
      if (project === undefined)
        throw westUnusable(
          this.#input.name,
          `expected an active project ${quote(name)} for its blobs, got none`,
        );
      const source = await this.#at(project.url, project.commit);
      const bytes = await source.read('zephyr/module.yml');
      if (bytes === undefined) throw westUnusable(name, 'expected zephyr/module.yml for its blobs, got none');
      for (const blob of parseModuleBlobs(bytes, `${name}: zephyr/module.yml`)) {
        const refused = refuseLocation(blob.url, ['https:', 'http:', 'file:']);
        if (refused !== undefined) throw westUnusable(name, `${quote(blob.path)}: ${refused}`);
        const { signal, store } = this.#options;
        const what = `${blob.path} of input ${this.#input.name}`;
        const pinned = await addBlob(store, what, new URL(blob.url), { signal, sha256: blob.sha256 });
        const path = `${project.path}/zephyr/blobs/${blob.path}`;
        found.push({ project: name, path, url: blob.url, ...pinned });
      }
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #at(url: string, commit: string): Promise<Source> {
    const repository = await this.#repository(commit, `${url} ${commit}`);
    await repository.fetch(url, commit);
    return {
      key: `${url} ${commit}`,
      read: (path) => repository.read(commit, path),
      list: (folder) => repository.list(commit, folder),
    };
  }

  #beside(): Source {
    const { base } = this.#options;
    return {
      key: 'local',
      read: (path) => readFile(resolve(base, path)).catch(() => undefined),
      list: async (folder) => {
        const names = await readdir(resolve(base, folder)).catch(() => []);
        return names.map((name) => `${folder}/${name}`);
      },
    };
  }

  /** A repository of our own a key; `commit` tells which kind of digest it has. */
  async #repository(commit: string, key: string): Promise<GitObjects> {
    const known = this.#repositories.get(key);
    if (known !== undefined) return known;
    const opened = await GitObjects.open(commit, this.#options.signal);
    this.#repositories.set(key, opened);
    return opened;
  }
}
