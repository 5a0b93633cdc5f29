// SPDX-License-Identifier: Apache-2.0
// Merkle trees of logs [RFC6962 §2.1]: hashes, the check of proofs, and which subtrees a proof is made of.
// Mathematics without a key: what a check accepts is only as good as the root it was given.

import type { Crypto } from '../crypto.ts';
import { TLOG } from './faults.ts';

/** The one operation that trees need. */
export type Hasher = Pick<Crypto, 'sha256'>;

/** A complete subtree: leaves `index * 2^level` up to, not including, `(index + 1) * 2^level`. */
export interface TreeNode {
  /** 0 for leaves. */
  readonly level: number;
  readonly index: bigint;
}

/** A hash of a proof: that of the tree over these complete subtrees, left to right, largest first. */
export type ProofPart = readonly TreeNode[];

/** The root of a tree without leaves: SHA-256 of nothing [RFC6962 §2.1]. */
export function emptyRoot(hasher: Hasher): Uint8Array {
  return hasher.sha256(new Uint8Array(0));
}

/** Leaf hash: SHA-256(0x00 ‖ leaf) [RFC6962 §2.1]. */
export function hashLeaf(leaf: Uint8Array, hasher: Hasher): Uint8Array {
  const data = new Uint8Array(leaf.length + 1);
  data.set(leaf, 1);
  return hasher.sha256(data);
}

/** Node hash: SHA-256(0x01 ‖ left ‖ right) [RFC6962 §2.1]. */
export function hashNode(left: Uint8Array, right: Uint8Array, hasher: Hasher): Uint8Array {
  const data = new Uint8Array(65);
  data[0] = 1;
  data.set(left, 1);
  data.set(right, 33);
  return hasher.sha256(data);
}

/** What an inclusion proof claims: the leaf with this hash stands at `index` in the tree of `size` leaves under `root`. */
export interface InclusionClaim {
  readonly index: bigint;
  readonly size: bigint;
  readonly leafHash: Uint8Array;
  /** Leaf to root. */
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/**
 * Checks an inclusion proof [RFC9162 §2.1.3.2]. The length of the proof follows from index and size, so an index
 * cannot be passed off as another.
 * @throws TLOG_INDEX_OUTSIDE_TREE, TLOG_INCLUSION_MISMATCH
 */
export function checkInclusion(claim: InclusionClaim, hasher: Hasher): void {
  const { index, size, leafHash, proof, root } = claim;
  if (index < 0n || index >= size) {
    throw TLOG.reject(
      'TLOG_INDEX_OUTSIDE_TREE',
      `expected a leaf index below the tree size ${size}, got ${index}`,
    );
  }
  const mismatch = (message: string) => TLOG.reject('TLOG_INCLUSION_MISMATCH', message);
  if (leafHash.length !== 32 || root.length !== 32 || proof.some((hash) => hash.length !== 32)) {
    throw mismatch('expected hashes of 32 bytes, got another length');
  }
  // Where leaf and last leaf part ways the left-right pattern ends; above, only left siblings remain.
  const inner = bitLength(index ^ (size - 1n));
  const border = onesIn(index >> BigInt(inner));
  if (proof.length !== inner + border) {
    throw mismatch(`expected ${inner + border} hashes for leaf ${index} of ${size}, got ${proof.length}`);
  }
  let hash = leafHash;
  proof.forEach((sibling, i) => {
    const right = i >= inner || ((index >> BigInt(i)) & 1n) === 1n;
    hash = right ? hashNode(sibling, hash, hasher) : hashNode(hash, sibling, hasher);
  });
  if (!sameBytes(hash, root)) {
    throw mismatch(`the proof of leaf ${index} leads to another root than that of the tree of size ${size}`);
  }
}

/** What a consistency proof claims: the tree of `newSize` leaves begins with that of `oldSize`. */
export interface ConsistencyClaim {
  readonly oldSize: bigint;
  readonly oldRoot: Uint8Array;
  readonly newSize: bigint;
  readonly newRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * Checks a consistency proof [RFC9162 §2.1.4.2]. Stricter than [RFC9162 §2.1.4.2]: an empty older tree proves nothing
 * and is refused.
 * @throws TLOG_CONSISTENCY_SIZES, TLOG_CONSISTENCY_MISMATCH
 */
export function checkConsistency(claim: ConsistencyClaim, hasher: Hasher): void {
  const { oldSize, oldRoot, newSize, newRoot, proof } = claim;
  const mismatch = (message: string) => TLOG.reject('TLOG_CONSISTENCY_MISMATCH', message);
  if (oldSize <= 0n || oldSize > newSize) {
    throw TLOG.reject(
      'TLOG_CONSISTENCY_SIZES',
      `expected a non-empty tree and one at least as large, got sizes ${oldSize} and ${newSize}`,
    );
  }
  if (oldSize === newSize) {
    if (proof.length !== 0) throw mismatch(`expected no hashes between equal sizes, got ${proof.length}`);
    if (!sameBytes(oldRoot, newRoot)) throw mismatch(`two roots for the one size ${newSize}`);
    return;
  }
  if ([oldRoot, newRoot, ...proof].some((hash) => hash.length !== 32)) {
    throw mismatch('expected hashes of 32 bytes, got another length');
  }
  // The path starts at the last complete subtree of the older tree; when that is the whole tree, it is left out.
  const shift = trailingZeros(oldSize);
  const whole = oldSize === 1n << BigInt(shift);
  const index = (oldSize - 1n) >> BigInt(shift);
  const inner = bitLength((oldSize - 1n) ^ (newSize - 1n)) - shift;
  const border = onesIn((oldSize - 1n) >> BigInt(inner + shift));
  const expected = inner + border + (whole ? 0 : 1);
  if (proof.length !== expected) {
    throw mismatch(
      `expected ${expected} hashes between sizes ${oldSize} and ${newSize}, got ${proof.length}`,
    );
  }
  const seed = whole ? oldRoot : (proof[0] as Uint8Array);
  let older = seed;
  let newer = seed;
  proof.slice(whole ? 0 : 1).forEach((sibling, i) => {
    if (i >= inner || ((index >> BigInt(i)) & 1n) === 1n) {
      older = hashNode(sibling, older, hasher);
      newer = hashNode(sibling, newer, hasher);
    } else {
      newer = hashNode(newer, sibling, hasher);
    }
  });
  if (!sameBytes(older, oldRoot)) throw mismatch(`the proof does not lead to the root of size ${oldSize}`);
  if (!sameBytes(newer, newRoot)) throw mismatch(`the proof does not lead to the root of size ${newSize}`);
}

/** The complete subtrees of leaves `from` up to, not including, `to`: what the hash of a whole right edge is made of. */
export function completeSubtrees(from: bigint, to: bigint): ProofPart {
  const nodes: TreeNode[] = [];
  let at = from;
  while (at < to) {
    let level = bitLength(to - at) - 1;
    if (at !== 0n) level = Math.min(level, trailingZeros(at));
    nodes.push({ level, index: at >> BigInt(level) });
    at += 1n << BigInt(level);
  }
  return nodes;
}

/** The parts of an inclusion proof, leaf to root [RFC6962 §2.1.1]. @throws TLOG_INDEX_OUTSIDE_TREE */
export function inclusionParts(index: bigint, size: bigint): readonly ProofPart[] {
  if (index < 0n || index >= size) {
    throw TLOG.reject(
      'TLOG_INDEX_OUTSIDE_TREE',
      `expected a leaf index below the tree size ${size}, got ${index}`,
    );
  }
  const parts: ProofPart[] = [];
  let from = 0n;
  let to = size;
  while (to - from > 1n) {
    const middle = from + largestPowerBelow(to - from);
    if (index < middle) {
      parts.push(completeSubtrees(middle, to));
      to = middle;
    } else {
      parts.push(completeSubtrees(from, middle));
      from = middle;
    }
  }
  return parts.reverse();
}

/** The parts of a consistency proof [RFC6962 §2.1.2]. @throws TLOG_CONSISTENCY_SIZES */
export function consistencyParts(oldSize: bigint, newSize: bigint): readonly ProofPart[] {
  if (oldSize <= 0n || oldSize > newSize) {
    throw TLOG.reject(
      'TLOG_CONSISTENCY_SIZES',
      `expected a non-empty tree and one at least as large, got sizes ${oldSize} and ${newSize}`,
    );
  }
  const parts: ProofPart[] = [];
  let from = 0n;
  let to = newSize;
  while (to !== oldSize) {
    const middle = from + largestPowerBelow(to - from);
    if (oldSize <= middle) {
      parts.push(completeSubtrees(middle, to));
      to = middle;
    } else {
      parts.push(completeSubtrees(from, middle));
      from = middle;
    }
  }
  if (from !== 0n) parts.push(completeSubtrees(from, to));
  return parts.reverse();
}

/** The hash of a part, given those of its subtrees. */
export function hashPart(part: ProofPart, read: (node: TreeNode) => Uint8Array, hasher: Hasher): Uint8Array {
  const hashes = part.map(read);
  let hash = hashes[hashes.length - 1] ?? emptyRoot(hasher);
  for (let i = hashes.length - 2; i >= 0; i--) hash = hashNode(hashes[i] as Uint8Array, hash, hasher);
  return hash;
}

/** The root of the tree of `size` leaves. */
export function treeRoot(size: bigint, read: (node: TreeNode) => Uint8Array, hasher: Hasher): Uint8Array {
  return hashPart(completeSubtrees(0n, size), read, hasher);
}

/** Equality of bytes. Not constant time: nothing compared here is secret. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function largestPowerBelow(n: bigint): bigint {
  return 1n << BigInt(bitLength(n - 1n) - 1);
}

function bitLength(n: bigint): number {
  return n === 0n ? 0 : n.toString(2).length;
}

function onesIn(n: bigint): number {
  let ones = 0;
  for (let rest = n; rest > 0n; rest >>= 1n) ones += Number(rest & 1n);
  return ones;
}

function trailingZeros(n: bigint): number {
  let zeros = 0;
  for (let rest = n; rest > 0n && (rest & 1n) === 0n; rest >>= 1n) zeros++;
  return zeros;
}
