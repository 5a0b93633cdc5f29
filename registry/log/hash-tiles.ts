// SPDX-License-Identifier: Apache-2.0
// Tiles of hashes in memory [C2SP-tlog-tiles-v0.1.0 §Merkle Tree]: 256 hashes each, level n + 1 made of the roots of level n.
// Hashes only ever join the right edge, so a tile in memory stays true for every smaller tree.

import { hash } from 'node:crypto';
import type { Hasher, TreeNode } from '../../core/tlog/merkle.ts';

export const TILE_WIDTH = 256;
export const TILE_HEIGHT = 8;
export const HASH_BYTES = 32;

/** Native SHA-256 for core's mathematics; the one-shot form costs half of a hash object's. */
export const nodeHasher = {
  sha256: (data: Uint8Array): Uint8Array => new Uint8Array(hash('sha256', data, 'buffer')),
};

/**
 * The same, remembering what it hashed: proofs into one tree share all but their first steps. For one batch, then dropped; it forgets nothing.
 */
export function rememberingHasher(): Hasher {
  const known = new Map<string, Uint8Array>();
  return {
    sha256: (data) => {
      const key = Buffer.from(data.buffer, data.byteOffset, data.length).toString('latin1');
      const found = known.get(key) ?? nodeHasher.sha256(data);
      known.set(key, found);
      return found;
    },
  };
}

const NODE = new Uint8Array(1 + 2 * HASH_BYTES);
NODE[0] = 1;

/** One tile: up to 256 hashes in one buffer, and in another the subtrees above them, hashed once when first asked for. */
export class HashTile {
  readonly hashes = new Uint8Array(TILE_WIDTH * HASH_BYTES);
  /** How many hashes are there. */
  width = 0;
  /** Subtree `index` of `height` stands at 2^(8 - height) + index, as in a heap. */
  private readonly subtrees = new Uint8Array(TILE_WIDTH * HASH_BYTES);
  /** 1 where a subtree has been hashed. */
  private readonly known = new Uint8Array(TILE_WIDTH);

  static of(hashes: Uint8Array): HashTile {
    const tile = new HashTile();
    tile.hashes.set(hashes);
    tile.width = hashes.length / HASH_BYTES;
    return tile;
  }

  push(hash: Uint8Array): void {
    this.hashes.set(hash, this.width * HASH_BYTES);
    this.width++;
  }

  /** The hash of the complete subtree of 2^height hashes; 0 ≤ height ≤ 8. A view, of what never changes. */
  subtree(height: number, index: number): Uint8Array {
    if ((index + 1) << height > this.width) {
      throw new RangeError(`subtree ${index} of height ${height} is not complete at width ${this.width}`);
    }
    if (height === 0) return this.hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
    const at = (1 << (TILE_HEIGHT - height)) + index;
    if (this.known[at] === 0) {
      const left = this.subtree(height - 1, 2 * index);
      const right = this.subtree(height - 1, 2 * index + 1);
      NODE.set(left, 1);
      NODE.set(right, 1 + HASH_BYTES);
      this.subtrees.set(nodeHasher.sha256(NODE), at * HASH_BYTES);
      this.known[at] = 1;
    }
    return this.subtrees.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  }
}

/** Where a complete subtree is found: tile level and index, height and index of the subtree inside. */
export interface TilePlace {
  readonly level: number;
  readonly tile: bigint;
  readonly height: number;
  readonly index: number;
}

/** The tile that holds a complete subtree. */
export function tileOf(node: TreeNode): TilePlace {
  const height = node.level % TILE_HEIGHT;
  const across = BigInt(TILE_HEIGHT - height);
  return {
    level: (node.level - height) / TILE_HEIGHT,
    tile: node.index >> across,
    height,
    index: Number(node.index & ((1n << across) - 1n)),
  };
}

/** How many hashes a tree of `size` leaves has at a tile level. */
export function hashesAtLevel(size: bigint, level: number): bigint {
  return size >> BigInt(TILE_HEIGHT * level);
}
