// SPDX-License-Identifier: Apache-2.0
// What waybill.lock holds of inputs that are no Debian packages [docs/spec/lock.md §Inputs of other kinds].

import type { DocumentNode } from '../../core/encoding/document.ts';
import type { Pinned } from '../store.ts';
import { gitLocation, refuseLocation } from './declared.ts';

export interface LockedFile extends Pinned {
  readonly name: string;
  readonly kind: 'file';
  readonly url: string;
}

export interface LockedFolder extends Pinned {
  readonly name: string;
  readonly kind: 'folder';
  readonly path: string;
  /** The commit that was checked out, and whether the folder differed from it; absent outside git. */
  readonly git?: { readonly commit: string; readonly dirty: boolean };
  readonly files: readonly ListedFile[];
}

/** One file of a folder, sorted by the bytes of its path. */
export interface ListedFile {
  readonly path: string;
  /** `100644`, `100755` or `120000`, as git writes them; `040000` an empty folder. */
  readonly mode: string;
  readonly sizeBytes: number;
  /** Of the content; of a link, of its target. */
  readonly sha256: string;
}

/** A commit as a tree: digest and size are those of the tree's archive. */
export interface LockedCommit extends Pinned {
  readonly url: string;
  readonly commit: string;
  readonly submodules: readonly LockedSubmodule[];
}

export interface LockedSubmodule {
  readonly path: string;
  readonly url: string;
  readonly commit: string;
}

export interface LockedGit extends LockedCommit {
  readonly name: string;
  readonly kind: 'git';
}

export interface LockedOci extends Pinned {
  readonly name: string;
  readonly kind: 'oci';
  readonly image: string;
  /** The index that the definition names and that leads to the manifest; absent if it names the manifest. */
  readonly index?: Pinned;
  /** The image's configuration, which names the layers' digests before compression. */
  readonly config: Pinned;
  /** From the lowest to the highest. */
  readonly layers: readonly Pinned[];
}

export interface LockedProject extends LockedCommit {
  readonly project: string;
  /** Below the input's folder. */
  readonly path: string;
}

export interface LockedBlob extends Pinned {
  readonly project: string;
  /** Below the input's folder. */
  readonly path: string;
  readonly url: string;
}

export interface LockedWest {
  readonly name: string;
  readonly kind: 'west';
  readonly manifestSha256: string;
  readonly projects: readonly LockedProject[];
  readonly blobs: readonly LockedBlob[];
}

export type LockedMounted = LockedFile | LockedFolder | LockedGit | LockedWest;

const SIZE_BYTES_MAX = 64 * 1024 ** 3;

/** Reads one input of a kind other than `debian`. */
export function parseLockedOther(node: DocumentNode): LockedMounted | LockedOci {
  const name = node.field('name').string();
  const kind = node.field('kind').word('debian', 'file', 'folder', 'git', 'oci', 'west');
  if (kind === 'file') {
    node.only('name', 'kind', 'definition', 'url', 'sha256', 'sizeBytes');
    return { name, kind, url: location(node.field('url')), ...pinned(node) };
  }
  if (kind === 'git') {
    node.only('name', 'kind', 'definition', 'url', 'commit', 'sha256', 'sizeBytes', 'submodules');
    return { name, kind, ...commitOf(node) };
  }
  if (kind === 'oci') {
    node.only('name', 'kind', 'definition', 'image', 'index', 'sha256', 'sizeBytes', 'config', 'layers');
    const blob = (of: DocumentNode) => pinned(of.only('sha256', 'sizeBytes'));
    const index = node.optional('index');
    return {
      name,
      kind,
      image: node.field('image').string(),
      ...(index === undefined ? {} : { index: blob(index) }),
      ...pinned(node),
      config: blob(node.field('config')),
      layers: node.field('layers').someElements().map(blob),
    };
  }
  if (kind === 'west') return parseWest(name, node);
  return parseFolder(name, node);
}

function parseFolder(name: string, node: DocumentNode): LockedFolder {
  node.only('name', 'kind', 'definition', 'path', 'sha256', 'sizeBytes', 'git', 'files');
  const git = node.optional('git')?.only('commit', 'dirty');
  return {
    name,
    kind: 'folder',
    path: node.field('path').string(),
    ...pinned(node),
    ...(git === undefined
      ? {}
      : { git: { commit: commitId(git.field('commit')), dirty: git.field('dirty').boolean() } }),
    files: node
      .field('files')
      .elements()
      .map((file) => ({
        path: file.only('path', 'mode', 'sizeBytes', 'sha256').field('path').string(),
        mode: file.field('mode').word('100644', '100755', '120000', '040000'),
        sizeBytes: file.field('sizeBytes').integer(0),
        sha256: file.field('sha256').sha256(),
      })),
  };
}

function parseWest(name: string, node: DocumentNode): LockedWest {
  node.only('name', 'kind', 'definition', 'manifestSha256', 'projects', 'blobs');
  return {
    name,
    kind: 'west',
    manifestSha256: node.field('manifestSha256').sha256(),
    projects: node
      .field('projects')
      .someElements()
      .map((project) => ({
        project: project
          .only('project', 'path', 'url', 'commit', 'sha256', 'sizeBytes', 'submodules')
          .field('project')
          .string(),
        path: inside(project.field('path')),
        ...commitOf(project),
      })),
    blobs: node
      .field('blobs')
      .elements()
      .map((blob) => ({
        project: blob.only('project', 'path', 'url', 'sha256', 'sizeBytes').field('project').string(),
        path: inside(blob.field('path')),
        url: location(blob.field('url')),
        ...pinned(blob),
      })),
  };
}

function commitOf(node: DocumentNode): LockedCommit {
  return {
    url: gitLocation(node.field('url')),
    commit: commitId(node.field('commit')),
    ...pinned(node),
    submodules: node
      .field('submodules')
      .elements()
      .map((one) => ({
        path: inside(one.only('path', 'url', 'commit').field('path')),
        url: gitLocation(one.field('url')),
        commit: commitId(one.field('commit')),
      })),
  };
}

function commitId(node: DocumentNode): string {
  return node.matching(/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/, 'a commit id');
}

function pinned(node: DocumentNode): Pinned {
  return {
    sha256: node.field('sha256').sha256(),
    sizeBytes: node.field('sizeBytes').integer(0, SIZE_BYTES_MAX),
  };
}

function location(node: DocumentNode): string {
  const said = refuseLocation(node.string(), ['https:', 'http:', 'file:']);
  if (said !== undefined) throw node.wrong(said);
  return node.string();
}

/** A relative path without `..`. */
export function inside(node: DocumentNode): string {
  const path = node.string();
  if (path.startsWith('/') || path.split('/').some((s) => s === '' || s === '.' || s === '..')) {
    throw node.wrong('expected a relative path without "." and ".."');
  }
  return path;
}
