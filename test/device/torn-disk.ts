// SPDX-License-Identifier: Apache-2.0
// A disk in memory that forgets what was not synced. The power goes before a given operation; then of the names that changed since
// their folder was synced any may have reached the medium, and of a file that was not synced nothing, half or all.

import type { FileSystem } from '../../device/file-system.ts';

interface Inode {
  readonly content: Uint8Array;
  synced: boolean;
}

/** A change of names in one folder. `undefined` takes the name away. */
interface Change {
  readonly folder: string;
  readonly names: readonly (readonly [string, Inode | 'folder' | undefined])[];
}

export class PowerCut extends Error {}

const dirname = (path: string) => path.slice(0, path.lastIndexOf('/')) || '/';
const missing = (path: string) => Object.assign(new Error(`no ${path}`), { code: 'ENOENT' });

export class TornDisk implements FileSystem {
  /** What a running system sees, by path. */
  private readonly live = new Map<string, Inode | 'folder'>([['/', 'folder']]);
  /** What is on the medium for sure. */
  private readonly medium = new Map<string, Inode | 'folder'>([['/', 'folder']]);
  private pending: Change[] = [];
  private operations = 0;
  /** The operation before which the power goes, from 1. */
  cutAt = Number.POSITIVE_INFINITY;

  get isCut(): boolean {
    return this.operations >= this.cutAt;
  }

  private operation(): void {
    this.operations++;
    if (this.isCut) throw new PowerCut('the power is gone');
  }

  private change(folder: string, ...names: Change['names']): void {
    for (const [path, node] of names) {
      if (node === undefined) this.live.delete(path);
      else this.live.set(path, node);
    }
    this.pending.push({ folder, names });
  }

  async makeFolder(path: string): Promise<string | undefined> {
    this.operation();
    let first: string | undefined;
    const parts = path.split('/').slice(1);
    for (let i = 1; i <= parts.length; i++) {
      const folder = `/${parts.slice(0, i).join('/')}`;
      if (this.live.has(folder)) continue;
      first ??= folder;
      this.change(dirname(folder), [folder, 'folder']);
    }
    return first;
  }

  async createFile(path: string, bytes: Uint8Array): Promise<void> {
    this.operation();
    if (!this.live.has(dirname(path))) throw missing(path);
    this.change(dirname(path), [path, { content: bytes, synced: false }]);
  }

  async syncFile(path: string): Promise<void> {
    this.operation();
    (this.live.get(path) as Inode).synced = true;
  }

  async rename(from: string, to: string): Promise<void> {
    this.operation();
    this.change(dirname(to), [from, undefined], [to, this.live.get(from)]);
  }

  async removeFile(path: string): Promise<void> {
    this.operation();
    if (this.live.has(path)) this.change(dirname(path), [path, undefined]);
  }

  async syncFolder(path: string): Promise<void> {
    this.operation();
    if (!this.live.has(path)) throw missing(path);
    for (const change of this.pending) if (change.folder === path) apply(this.medium, change);
    this.pending = this.pending.filter((change) => change.folder !== path);
  }

  async readFile(path: string): Promise<Uint8Array> {
    const found = this.live.get(path);
    if (found === undefined) throw missing(path);
    return found === 'folder' ? new Uint8Array() : found.content;
  }

  async list(path: string): Promise<readonly string[]> {
    if (!this.live.has(path)) throw missing(path);
    const inside = [...this.live.keys()].filter((other) => other !== '/' && dirname(other) === path);
    return inside.map((other) => other.slice(other.lastIndexOf('/') + 1));
  }

  /** Damages a file behind everybody's back. */
  damage(path: string, change: (content: Uint8Array) => Uint8Array | undefined): void {
    const found = this.live.get(path);
    if (found === undefined || found === 'folder') throw missing(path);
    const content = change(found.content);
    for (const names of [this.live, this.medium]) {
      if (content === undefined) names.delete(path);
      else names.set(path, { content, synced: true });
    }
  }

  /** Files there are, by path. */
  get files(): readonly string[] {
    return [...this.live].filter(([, node]) => node !== 'folder').map(([path]) => path);
  }

  /** A disk that holds the same, all of it on the medium. */
  copy(): TornDisk {
    return TornDisk.of(this.live, (inode) => inode.content);
  }

  /** Every disk that may be found after the power went now. */
  *crashes(): Generator<TornDisk> {
    for (let chosen = 0; chosen < 2 ** this.pending.length; chosen++) {
      const found = new Map(this.medium);
      this.pending.forEach((change, i) => {
        if ((chosen & (1 << i)) !== 0) apply(found, change);
      });
      const torn = [...found.values()].some((node) => node !== 'folder' && !node.synced);
      for (const share of torn ? [0, 0.5, 1] : [1]) {
        yield TornDisk.of(found, ({ content, synced }) =>
          synced ? content : content.slice(0, Math.floor(content.length * share)),
        );
      }
    }
  }

  private static of(
    names: ReadonlyMap<string, Inode | 'folder'>,
    read: (inode: Inode) => Uint8Array,
  ): TornDisk {
    const disk = new TornDisk();
    const inPlace = (path: string): boolean =>
      path === '/' || (names.get(path) !== undefined && inPlace(dirname(path)));
    for (const [path, node] of names) {
      // A folder whose name did not last takes everything in it along.
      if (!inPlace(path)) continue;
      const kept = node === 'folder' ? node : { content: read(node), synced: true };
      disk.live.set(path, kept);
      disk.medium.set(path, kept);
    }
    return disk;
  }
}

function apply(names: Map<string, Inode | 'folder'>, change: Change): void {
  for (const [path, node] of change.names) {
    if (node === undefined) names.delete(path);
    else names.set(path, node);
  }
}
