// SPDX-License-Identifier: Apache-2.0
// A Merkle tree that grows at its right edge, with the tiles that it needs at hand [C2SP-tlog-tiles-v0.1.0 §Merkle Tree].
// The tree may be ahead of what is published: proofs and roots for smaller sizes stay right.

import {
  consistencyParts,
  type Hasher,
  hashPart,
  inclusionParts,
  type ProofPart,
  type TreeNode,
  treeRoot,
} from '../../core/tlog/merkle.ts';
import { HASH_BYTES, HashTile, hashesAtLevel, nodeHasher, TILE_WIDTH, tileOf } from './hash-tiles.ts';

/** Full tiles kept in memory, 16 KiB each with the subtrees above. */
const CACHED_TILES = 256;

/** A tile that changed: its place, and the hashes it has now. */
export interface ChangedTile {
  readonly level: number;
  readonly index: bigint;
  readonly hashes: Uint8Array;
}

/** Reads a stored tile of at least `width` hashes. */
export type TileReader = (level: number, index: bigint, width: number) => Promise<Uint8Array | undefined>;

/** A tile that the store should have does not exist or is too short. */
export class MissingTile extends Error {
  override readonly name = 'MissingTile';
}

export class GrowingTree {
  /** Number of leaves, published or not. */
  size = 0n;
  /** The last, perhaps partial or empty, tile of each level. */
  private readonly edge: HashTile[] = [];
  private readonly cache = new Map<string, HashTile>();
  /** Full tiles of the last `grow`: they may be stored nowhere yet, so what is read meanwhile does not drive them out. */
  private readonly fresh = new Map<string, HashTile>();
  private readonly read: TileReader;

  private constructor(read: TileReader) {
    this.read = read;
  }

  /** Reads the right edge of a stored tree. @throws MissingTile */
  static async open(size: bigint, read: TileReader): Promise<GrowingTree> {
    const tree = new GrowingTree(read);
    tree.size = size;
    for (let level = 0; hashesAtLevel(size, level) > 0n; level++) {
      const count = hashesAtLevel(size, level);
      const width = Number(count % BigInt(TILE_WIDTH));
      tree.edge[level] =
        width === 0 ? new HashTile() : await tree.load(level, count / BigInt(TILE_WIDTH), width);
    }
    return tree;
  }

  /** Adds leaf hashes; returns the tiles that changed. Those that were returned before must be stored by now. */
  grow(leafHashes: readonly Uint8Array[]): ChangedTile[] {
    for (const [place, tile] of this.fresh) this.remember(place, tile);
    this.fresh.clear();
    const changed: ChangedTile[] = [];
    const touched = new Set<number>();
    for (const leafHash of leafHashes) {
      this.size++;
      this.push(0, leafHash, touched, changed);
    }
    for (const level of touched) {
      const tile = this.edgeTile(level);
      if (tile.width === 0) continue;
      const hashes = tile.hashes.subarray(0, tile.width * HASH_BYTES);
      changed.push({ level, index: this.edgeIndex(level), hashes });
    }
    return changed;
  }

  private push(level: number, hash: Uint8Array, touched: Set<number>, changed: ChangedTile[]): void {
    const tile = this.edgeTile(level);
    tile.push(hash);
    touched.add(level);
    if (tile.width < TILE_WIDTH) return;
    const index = this.edgeIndex(level) - 1n;
    changed.push({ level, index, hashes: tile.hashes });
    this.fresh.set(`${level}/${index}`, tile);
    this.edge[level] = new HashTile();
    this.push(level + 1, tile.subtree(8, 0), touched, changed);
  }

  /** The root over all leaves. */
  root(): Uint8Array {
    const node = (at: TreeNode): Uint8Array => {
      const place = tileOf(at);
      return this.edgeTile(place.level).subtree(place.height, place.index);
    };
    return treeRoot(this.size, node, nodeHasher);
  }

  /** Proof of leaf `index` in the tree of `size` leaves, leaf to root. @throws TLOG_INDEX_OUTSIDE_TREE, MissingTile */
  inclusionProof(index: bigint, size: bigint, hasher: Hasher = nodeHasher): Promise<Uint8Array[]> {
    return this.hashParts(inclusionParts(index, size), hasher);
  }

  /** Proof that the tree of `newSize` leaves begins with that of `oldSize`. @throws TLOG_CONSISTENCY_SIZES, MissingTile */
  consistencyProof(oldSize: bigint, newSize: bigint): Promise<Uint8Array[]> {
    return this.hashParts(consistencyParts(oldSize, newSize));
  }

  /** The hash of one leaf as the tiles have it. @throws MissingTile */
  async leafHash(index: bigint): Promise<Uint8Array> {
    const [hash] = await this.hashParts([[{ level: 0, index }]]);
    return hash as Uint8Array;
  }

  private async hashParts(parts: readonly ProofPart[], hasher: Hasher = nodeHasher): Promise<Uint8Array[]> {
    // Tiles are held here until the hashes are taken: the cache may drop them meanwhile.
    const held = new Map<TreeNode, HashTile>();
    for (const node of parts.flat()) {
      const { level, tile } = tileOf(node);
      held.set(node, this.inMemory(level, tile) ?? (await this.load(level, tile, TILE_WIDTH)));
    }
    const node = (at: TreeNode): Uint8Array => {
      const place = tileOf(at);
      return (held.get(at) as HashTile).subtree(place.height, place.index);
    };
    return parts.map((part) => hashPart(part, node, hasher));
  }

  private inMemory(level: number, index: bigint): HashTile | undefined {
    if (index === this.edgeIndex(level)) return this.edgeTile(level);
    const place = `${level}/${index}`;
    return this.fresh.get(place) ?? this.cache.get(place);
  }

  private async load(level: number, index: bigint, width: number): Promise<HashTile> {
    const hashes = await this.read(level, index, width);
    if (hashes === undefined) {
      throw new MissingTile(`expected ${width} hashes in tile ${index} of level ${level}, found fewer`);
    }
    const tile = HashTile.of(hashes);
    if (width === TILE_WIDTH) this.remember(`${level}/${index}`, tile);
    return tile;
  }

  private remember(place: string, tile: HashTile): void {
    this.cache.set(place, tile);
    const [oldest] = this.cache.keys();
    if (this.cache.size > CACHED_TILES && oldest !== undefined) this.cache.delete(oldest);
  }

  private edgeTile(level: number): HashTile {
    const tile = this.edge[level] ?? new HashTile();
    this.edge[level] = tile;
    return tile;
  }

  private edgeIndex(level: number): bigint {
    return hashesAtLevel(this.size, level) / BigInt(TILE_WIDTH);
  }
}
