// SPDX-License-Identifier: Apache-2.0
// Writing a tree that somebody else described: nothing is written outside it, and no link in it leads out of it.

import { chmod, copyFile, lutimes, mkdir, open, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { BUILDER } from '../faults.ts';
import { removeTree } from '../remove-tree.ts';

/** Bounds against archives that expand without end. */
const ENTRIES_MAX = 1_000_000;
const SIZE_BYTES_MAX = 32 * 1024 ** 3;
const LINKS_FOLLOWED_MAX = 40;
/** 1980-01-01: the earliest time that zip can hold; the same for every file of every input. */
export const INPUT_TIME = 315532800;

interface Placed {
  readonly kind: 'file' | 'folder' | 'link';
  readonly target: string;
}

export interface TreeRules {
  /** Names the input in messages. */
  readonly what: string;
  /**
   * A root file system: links may point anywhere (they are followed inside the sandbox alone), paths may go through links of
   * earlier layers, and later layers replace what earlier ones placed.
   */
  readonly root?: boolean;
  /** The bounds, by default far above any firmware. */
  readonly entriesMax?: number;
  readonly sizeBytesMax?: number;
}

/** What is at a path of a tree: the means to follow links without touching a disk. */
export type LookUp = (path: string) => Placed | undefined;

/**
 * Follows a path inside a tree; undefined if it leaves it. Absolute targets start at the tree's root when `root`, else they leave it.
 * What does not exist is taken as a folder that could be made.
 */
export function followInside(path: string, lookUp: LookUp, root: boolean): string | undefined {
  const waiting = path.split('/').reverse();
  const at: string[] = [];
  let followed = 0;
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      // At the root of a file system `..` stays there; anywhere else it leaves.
      if (at.pop() === undefined && !root) return undefined;
      continue;
    }
    const placed = lookUp([...at, name].join('/'));
    if (placed?.kind !== 'link') {
      at.push(name);
      continue;
    }
    if (++followed > LINKS_FOLLOWED_MAX) return undefined;
    if (placed.target.startsWith('/')) {
      if (!root) return undefined;
      at.length = 0;
    }
    waiting.push(...placed.target.split('/').reverse());
  }
  return at.join('/');
}

/** Checks that no link of a tree leads out of it. @throws INPUT_LINK_ESCAPES */
export function checkLinks(
  placed: ReadonlyMap<string, { readonly kind: string; readonly target: string }>,
  what: string,
): void {
  const lookUp: LookUp = (path) => placed.get(path) as Placed | undefined;
  for (const [path, { kind, target }] of placed) {
    if (kind !== 'link' || followInside(path, lookUp, false) !== undefined) continue;
    throw BUILDER.reject(
      'INPUT_LINK_ESCAPES',
      `expected links of ${quote(what)} to stay inside it, got ${quote(path)} → ${quote(target)}`,
    );
  }
}

/** A relative path of an archive without `.` and a slash at its end; undefined if it leaves the tree or cannot be a path. */
export function cleanPath(path: string): string | undefined {
  if (path.startsWith('/') || path.includes('\0')) return undefined;
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.some((name) => name === '..' || Buffer.byteLength(name) > 255) || path.length > 4000)
    return undefined;
  return names.join('/');
}

/** Writes entries below a folder that is its own. */
export class TreeWriter {
  readonly folder: string;
  readonly placed = new Map<string, Placed>();
  readonly #rules: TreeRules;
  #sizeBytes = 0;

  constructor(folder: string, rules: TreeRules) {
    this.folder = folder;
    this.#rules = rules;
  }

  /** @throws INPUT_PATH_ESCAPES, INPUT_ARCHIVE_TOO_LARGE, INPUT_PATH_TWICE */
  async file(path: string, mode: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    const place = await this.#claim(path, 'file', '');
    const file = await open(join(this.folder, place), 'wx', 0o600);
    try {
      for await (const chunk of content) {
        this.#count(chunk.length);
        await file.writeFile(chunk);
      }
    } finally {
      await file.close();
    }
    await this.#settle(place, mode);
  }

  /** A second name of a file that was written before becomes a copy. @throws as `file` */
  async hardlink(path: string, mode: number, target: string): Promise<void> {
    const from = this.#inside(target);
    if (this.placed.get(from)?.kind !== 'file') throw this.#escapes(target);
    const place = await this.#claim(path, 'file', '');
    await copyFile(join(this.folder, from), join(this.folder, place));
    await this.#settle(place, mode);
  }

  /** @throws as `file` */
  async link(path: string, target: string): Promise<void> {
    if (target === '' || target.includes('\0')) throw this.#escapes(path);
    const place = await this.#claim(path, 'link', target);
    await symlink(target, join(this.folder, place));
    await lutimes(join(this.folder, place), INPUT_TIME, INPUT_TIME);
  }

  /** @throws as `file` */
  async makeFolder(path: string, mode: number): Promise<void> {
    const place = this.#inside(path);
    if (place === '') return;
    const there = this.placed.get(place);
    if (there === undefined || there.kind !== 'folder') {
      await this.#claim(path, 'folder', '');
      await mkdir(join(this.folder, place));
    }
    await chmod(join(this.folder, place), this.#rules.root === true ? (mode & 0o777) | 0o700 : 0o755);
  }

  /** Takes away what an earlier layer placed. */
  async remove(path: string): Promise<void> {
    const place = this.#inside(path);
    await removeTree(join(this.folder, place));
    for (const name of [...this.placed.keys()]) {
      if (name === place || place === '' || name.startsWith(`${place}/`)) this.placed.delete(name);
    }
  }

  /** Takes away all that earlier layers placed in a folder. Of a root file system alone. */
  async empty(folder: string): Promise<void> {
    const place = this.#inside(folder);
    const inside = place === '' ? '' : `${place}/`;
    const names = [...this.placed.keys()].filter((path) => path.startsWith(inside));
    for (const path of names) if (!path.slice(inside.length).includes('/')) await this.remove(path);
  }

  /** Makes room for a folder where an image has a link or a file. */
  async replace(path: string): Promise<void> {
    if (this.placed.get(path) !== undefined && this.placed.get(path)?.kind !== 'folder')
      await this.remove(path);
  }

  /** Where links lead is known when all are there. @throws INPUT_LINK_ESCAPES */
  finish(): void {
    if (this.#rules.root !== true) checkLinks(this.placed, this.#rules.what);
  }

  async #claim(path: string, kind: Placed['kind'], target: string): Promise<string> {
    const place = this.#inside(path);
    if (place === '') throw this.#escapes(path);
    const there = this.placed.get(place);
    if (there !== undefined) {
      if (this.#rules.root !== true) {
        throw BUILDER.reject(
          'INPUT_PATH_TWICE',
          `expected each path of ${quote(this.#rules.what)} once, got ${quote(path)} twice`,
        );
      }
      await this.remove(place);
    }
    const names = place.split('/');
    for (let depth = 1; depth < names.length; depth++) {
      const parent = names.slice(0, depth).join('/');
      const above = this.placed.get(parent);
      if (above?.kind === 'folder') continue;
      if (above !== undefined) await this.#replaceParent(parent, path);
      await mkdir(join(this.folder, parent));
      // Whatever umask this process has.
      await chmod(join(this.folder, parent), 0o755);
      this.placed.set(parent, { kind: 'folder', target: '' });
    }
    this.placed.set(place, { kind, target });
    const { entriesMax = ENTRIES_MAX } = this.#rules;
    if (this.placed.size > entriesMax) throw this.#tooLarge(`more than ${entriesMax} files`);
    return place;
  }

  async #replaceParent(parent: string, path: string): Promise<void> {
    if (this.#rules.root !== true) throw this.#escapes(path);
    await this.remove(parent);
  }

  /** The path inside the tree. Only a root file system may be written through its own links. */
  #inside(path: string): string {
    const clean = cleanPath(this.#rules.root === true ? path.replace(/^\/+/, '') : path);
    if (clean === undefined) throw this.#escapes(path);
    const names = clean.split('/');
    const last = names.pop() ?? '';
    const parent = names.join('/');
    const lookUp: LookUp = (at) => this.placed.get(at);
    const followed = followInside(parent, lookUp, this.#rules.root === true);
    if (followed === undefined || (this.#rules.root !== true && followed !== parent)) {
      throw this.#escapes(path);
    }
    return followed === '' ? last : `${followed}/${last}`;
  }

  async #settle(place: string, mode: number): Promise<void> {
    const path = join(this.folder, place);
    const executable = (mode & 0o100) !== 0;
    await chmod(path, this.#rules.root === true ? (mode & 0o777) | 0o400 : executable ? 0o755 : 0o644);
    await utimes(path, INPUT_TIME, INPUT_TIME);
  }

  #count(sizeBytes: number): void {
    this.#sizeBytes += sizeBytes;
    const { sizeBytesMax = SIZE_BYTES_MAX } = this.#rules;
    if (this.#sizeBytes > sizeBytesMax) throw this.#tooLarge(`more than ${sizeBytesMax} bytes`);
  }

  #escapes(path: string) {
    return BUILDER.reject(
      'INPUT_PATH_ESCAPES',
      `expected paths of ${quote(this.#rules.what)} to stay inside it, got ${quote(path)}`,
    );
  }

  #tooLarge(got: string) {
    return BUILDER.reject(
      'INPUT_ARCHIVE_TOO_LARGE',
      `expected an input of bounded size, got ${got} in ${quote(this.#rules.what)}`,
    );
  }
}
