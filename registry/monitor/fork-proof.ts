// SPDX-License-Identifier: Apache-2.0
// Proof that a log signed two trees of which neither begins with the other [docs/spec/monitor.md §Fork proof] [RFC9162 §2.1.4.2]. Of one size: two
// checkpoints with two roots. Of two sizes: hashes that lead to the root of the newer tree, and on the way to a root of its
// first leaves that is not the older one. Whoever has the log's key checks it offline.

import { base64Decode, base64Encode } from '../../core/encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../../core/encoding/document.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Checkpoint } from '../../core/tlog/checkpoint.ts';
import {
  completeSubtrees,
  consistencyParts,
  type Hasher,
  hashNode,
  type ProofPart,
  sameBytes,
} from '../../core/tlog/merkle.ts';
import { MONITOR } from '../monitor-faults.ts';

const FORMAT = 'waybill-fork-proof-v1';
const SIZE_BYTES_MAX = 4 * LIMITS.noteSizeBytes;

/** A checkpoint whose signature was verified, with the note itself. */
export interface Head extends Pick<Checkpoint, 'origin' | 'size' | 'rootHash'> {
  readonly note: string;
}

/** Two checkpoints that contradict each other. */
export interface ForkProof {
  /** Signed notes, verbatim; the older one is of the smaller tree, or was seen first. */
  readonly older: string;
  readonly newer: string;
  /** What `prefixParts` names, of the newer tree; none between equal sizes. */
  readonly hashes: readonly Uint8Array[];
}

/** The text of a proof, JSON; `checkForkProof` reads it. */
export function formatForkProof({ older, newer, hashes }: ForkProof): string {
  return `${JSON.stringify({ format: FORMAT, older, newer, hashes: hashes.map(base64Encode) }, null, 2)}\n`;
}

/**
 * The subtrees of the tree of `newSize` leaves whose hashes give its root and that of its first `oldSize` leaves: those of a consistency
 * proof, and the first leaves as a whole where such a proof takes them for granted. @throws TLOG_CONSISTENCY_SIZES
 */
export function prefixParts(oldSize: bigint, newSize: bigint): readonly ProofPart[] {
  if (oldSize === newSize) return [];
  const parts = consistencyParts(oldSize, newSize);
  return (oldSize & (oldSize - 1n)) === 0n ? [completeSubtrees(0n, oldSize), ...parts] : parts;
}

/** The roots of the first `oldSize` leaves and of all, as the hashes give them; undefined if there are too many or too few. */
export function prefixRoots(
  { oldSize, newSize }: { readonly oldSize: bigint; readonly newSize: bigint },
  hashes: readonly Uint8Array[],
  hasher: Hasher,
): { readonly older: Uint8Array; readonly newer: Uint8Array } | undefined {
  if (hashes.length !== prefixParts(oldSize, newSize).length) return undefined;
  let at = 0;
  const next = () => hashes[at++] as Uint8Array;
  const walk = (from: bigint, to: bigint): { older: Uint8Array; newer: Uint8Array } => {
    if (to === oldSize) {
      const seed = next();
      return { older: seed, newer: seed };
    }
    let half = 1n;
    while (half * 2n < to - from) half *= 2n;
    if (oldSize <= from + half) {
      const left = walk(from, from + half);
      return { older: left.older, newer: hashNode(left.newer, next(), hasher) };
    }
    const right = walk(from + half, to);
    const left = next();
    return { older: hashNode(left, right.older, hasher), newer: hashNode(left, right.newer, hasher) };
  };
  return walk(0n, newSize);
}

/** What a proof shows: two checkpoints of one log. */
export interface Fork {
  readonly older: Head;
  readonly newer: Head;
}

/**
 * Checks a proof: both notes are by the log, and no consistency proof between them can exist.
 * @param verify verifies a checkpoint note with the log's key
 * @throws MONITOR_PROOF_MALFORMED, MONITOR_PROOF_EMPTY, and what `verify` throws
 */
export function checkForkProof(bytes: Uint8Array, verify: (note: string) => Head, hasher: Hasher): Fork {
  const refuse = (message: string, at: string) => MONITOR.reject('MONITOR_PROOF_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse }, SIZE_BYTES_MAX);
  root.only('format', 'older', 'newer', 'hashes').field('format').word(FORMAT);
  const [older, newer] = [verify(root.field('older').string()), verify(root.field('newer').string())];
  const listed = root.field('hashes');
  const hashes = listed.elements().map(readHash);
  if (older.origin !== newer.origin || older.size > newer.size || older.size === 0n) {
    throw refuse('expected two trees of one log, the smaller one first and not empty', '/newer');
  }
  const empty = (message: string) => MONITOR.reject('MONITOR_PROOF_EMPTY', message);
  if (older.size === newer.size) {
    if (hashes.length > 0) throw listed.wrong('expected no hashes between equal sizes');
    if (sameBytes(older.rootHash, newer.rootHash)) throw empty('expected two roots, got one root twice');
    return { older, newer };
  }
  const roots = prefixRoots({ oldSize: older.size, newSize: newer.size }, hashes, hasher);
  if (roots === undefined || !sameBytes(roots.newer, newer.rootHash)) {
    throw listed.wrong('expected hashes that lead to the root of the newer checkpoint');
  }
  if (sameBytes(roots.older, older.rootHash)) throw empty('the newer tree begins with the older one');
  return { older, newer };
}

function readHash(node: DocumentNode): Uint8Array {
  const hash = base64Decode(node.string());
  if (hash?.length !== 32) throw node.wrong('expected 32 bytes in base64');
  return hash;
}
