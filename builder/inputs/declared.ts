// SPDX-License-Identifier: Apache-2.0
// What waybill.yaml says of inputs that are no Debian packages [docs/spec/build-definition.md §Inputs].

import type { DocumentNode } from '../../core/encoding/document.ts';
import { quote } from '../../core/faults.ts';

/** What an input is for; a root file system is one by its kind. */
export type DeclaredRole = 'source' | 'toolchain' | 'config' | 'blob';

interface Declared {
  readonly name: string;
  readonly role: DeclaredRole;
}

/** One file, or what is inside one archive. */
export interface FileInput extends Declared {
  readonly kind: 'file';
  readonly url: string;
  readonly sha256: string;
  readonly unpack?: 'tar' | 'zip';
  /** Folders to leave out at the start of each path of the archive. */
  readonly strip?: number;
}

/** A folder beside the definition. */
export interface FolderInput extends Declared {
  readonly kind: 'folder';
  /** Relative to the folder of the definition. */
  readonly path: string;
}

/** A commit, with its submodules. */
export interface GitInput extends Declared {
  readonly kind: 'git';
  readonly url: string;
  readonly commit: string;
  /** False leaves submodules out. */
  readonly submodules?: false;
}

/** A container image as root file system. */
export interface OciInput {
  readonly name: string;
  readonly kind: 'oci';
  readonly role: 'rootfs';
  /** `<host>/<repository>`, without tag. */
  readonly image: string;
  /** Of the manifest, or of the index that holds one for the platform. */
  readonly digest: string;
  /** `<os>/<architecture>`, which an index is searched for. */
  readonly platform: string;
}

/** The projects of a west manifest, which is a file beside the definition or one of a commit. */
export interface WestInput extends Declared {
  readonly kind: 'west';
  readonly manifest: string;
  readonly url?: string;
  readonly commit?: string;
  /** Projects whose binary blobs are wanted. */
  readonly blobs?: readonly string[];
}

export type MountedInput = FileInput | FolderInput | GitInput | WestInput;

const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Reads one input of a kind other than `debian`. */
export function parseDeclared(name: string, node: DocumentNode): MountedInput | OciInput {
  const kind = node.field('kind').word('debian', 'file', 'folder', 'git', 'oci', 'west');
  if (kind === 'oci') return parseOci(name, node);
  const common = { name, role: node.field('role').word('source', 'toolchain', 'config', 'blob') };
  if (kind === 'file') return { ...common, kind, ...parseFile(node) };
  if (kind === 'git') return { ...common, kind, ...parseGit(node) };
  if (kind === 'west') return { ...common, kind, ...parseWest(node) };
  node.only('kind', 'role', 'path');
  const path = node.field('path');
  return { ...common, kind: 'folder', path: path.string() === '.' ? '.' : relativePath(path) };
}

function parseFile(node: DocumentNode): Omit<FileInput, keyof Declared | 'kind'> {
  node.only('kind', 'role', 'url', 'sha256', 'unpack', 'strip');
  const unpack = node.optional('unpack')?.word('tar', 'zip');
  const strip = node.optional('strip');
  if (strip !== undefined && unpack === undefined) throw strip.wrong('expected `strip` only beside `unpack`');
  return {
    url: locationOf(node.field('url'), ['https:', 'http:', 'file:']),
    sha256: node.field('sha256').sha256(),
    ...(unpack === undefined ? {} : { unpack }),
    ...(strip === undefined ? {} : { strip: strip.integer(1, 16) }),
  };
}

function parseGit(node: DocumentNode): Omit<GitInput, keyof Declared | 'kind'> {
  node.only('kind', 'role', 'url', 'commit', 'submodules');
  const submodules = node.optional('submodules')?.boolean() ?? true;
  return {
    url: gitLocation(node.field('url')),
    commit: node.field('commit').matching(COMMIT, 'a whole commit id of 40 (or 64) lower-case hex digits'),
    ...(submodules ? {} : { submodules }),
  };
}

function parseWest(node: DocumentNode): Omit<WestInput, keyof Declared | 'kind'> {
  node.only('kind', 'role', 'manifest', 'url', 'commit', 'blobs');
  const [url, commit] = [node.optional('url'), node.optional('commit')];
  if ((url === undefined) !== (commit === undefined)) {
    throw (url ?? commit ?? node).wrong('expected `url` and `commit` both, or neither for a local manifest');
  }
  const blobs = node.optional('blobs')?.someElements();
  return {
    manifest: relativePath(node.field('manifest')),
    ...(url === undefined || commit === undefined
      ? {}
      : { url: gitLocation(url), commit: commit.matching(COMMIT, 'a whole commit id') }),
    ...(blobs === undefined ? {} : { blobs: blobs.map((blob) => blob.string()) }),
  };
}

function parseOci(name: string, node: DocumentNode): OciInput {
  node.only('kind', 'role', 'image', 'digest', 'platform');
  return {
    name,
    kind: 'oci',
    role: node.field('role').word('rootfs'),
    image: node
      .field('image')
      .matching(
        /^[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+$/,
        'a repository such as registry.example/name, without tag',
      ),
    digest: node.field('digest').matching(/^sha256:[0-9a-f]{64}$/, 'a digest sha256:<hex>'),
    platform:
      node.optional('platform')?.matching(/^[a-z0-9]+\/[a-z0-9]+$/, 'a platform such as linux/amd64') ??
      'linux/amd64',
  };
}

/** Where a repository of git may be: nothing that starts a program, nothing that holds a password. */
export function gitLocation(node: DocumentNode): string {
  return locationOf(node, ['https:', 'ssh:', 'file:']);
}

function locationOf(node: DocumentNode, protocols: readonly string[]): string {
  const text = node.string();
  const said = refuseLocation(text, protocols);
  if (said !== undefined) throw node.wrong(said);
  return text;
}

/** Why a location is none that Waybill fetches from, or undefined. */
export function refuseLocation(text: string, protocols: readonly string[]): string | undefined {
  const url = URL.canParse(text) && /^[a-z]+:\/\//.test(text) ? new URL(text) : undefined;
  if (
    url === undefined ||
    !protocols.includes(url.protocol) ||
    /[\s\0<>"\\^`{|}]/.test(text) ||
    text.length > 500
  ) {
    const names = protocols.map((protocol) => `${protocol}//`).join(', ');
    return `expected a location that starts with ${names}, got ${quote(text)}`;
  }
  if (url.password !== '' || (url.username !== '' && url.protocol !== 'ssh:') || url.hash !== '') {
    return 'expected a location without user, password and fragment: a lock is no place for secrets';
  }
  // ssh would take such a host for an option.
  if (url.hostname.startsWith('-') || url.username.startsWith('-')) {
    return `expected a host, got ${quote(url.hostname)}`;
  }
  return undefined;
}

/** Relative, without `.` and `..`. */
function relativePath(node: DocumentNode): string {
  const path = node.string();
  const names = path.split('/');
  if (
    names.some((s) => !/^[A-Za-z0-9_+~@%=,. -]{1,200}$/.test(s) || s === '.' || s === '..' || s[0] === '-')
  ) {
    throw node.wrong(`expected a relative path of plain segments without "." and "..", got ${quote(path)}`);
  }
  return path;
}
