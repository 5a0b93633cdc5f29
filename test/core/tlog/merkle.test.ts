// SPDX-License-Identifier: Apache-2.0
// Merkle proofs against foreign vectors, and against the definition of RFC 6962 written out.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { portableCrypto } from '../../../core/crypto.ts';
import { utf8 } from '../../../core/encoding/utf8.ts';
import {
  checkConsistency,
  checkInclusion,
  completeSubtrees,
  consistencyParts,
  emptyRoot,
  hashLeaf,
  hashNode,
  hashPart,
  inclusionParts,
  type TreeNode,
  treeRoot,
} from '../../../core/tlog/merkle.ts';
import { codeOf } from './refusal.ts';

const VECTORS = join(import.meta.dirname, '../../vectors/merkle');

function vectors(kind: string): [string, Record<string, unknown>][] {
  return readdirSync(join(VECTORS, kind), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.name.endsWith('.json'))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      // Some sizes are past what a double holds.
      const text = readFileSync(path, 'utf8').replace(/: (\d+)(,?)$/gm, ': "$1"$2');
      return [path.slice(VECTORS.length + 1), JSON.parse(text)];
    });
}

const bytes = (base64: unknown) => new Uint8Array(Buffer.from(base64 as string, 'base64'));
const many = (base64: unknown) => ((base64 as string[] | null) ?? []).map(bytes);
const VERDICTS = ['TLOG_INDEX_OUTSIDE_TREE', 'TLOG_INCLUSION_MISMATCH'];

describe('vectors of transparency-dev/merkle', () => {
  test('are all here', () => {
    expect([vectors('inclusion').length, vectors('consistency').length]).toEqual([53, 52]);
  });

  test.each(vectors('inclusion'))('%s', (_path, v) => {
    const claim = {
      index: BigInt(v.leafIdx as string),
      size: BigInt(v.treeSize as string),
      root: bytes(v.root),
      leafHash: bytes(v.leafHash),
      proof: many(v.proof),
    };
    const code = codeOf(() => checkInclusion(claim, portableCrypto));
    expect(v.wantErr ? VERDICTS : ['accepted']).toContain(code);
  });

  test.each(vectors('consistency'))('%s', (_path, v) => {
    const claim = {
      oldSize: BigInt(v.size1 as string),
      newSize: BigInt(v.size2 as string),
      oldRoot: bytes(v.root1),
      newRoot: bytes(v.root2),
      proof: many(v.proof),
    };
    const code = codeOf(() => checkConsistency(claim, portableCrypto));
    expect(v.wantErr ? ['TLOG_CONSISTENCY_SIZES', 'TLOG_CONSISTENCY_MISMATCH'] : ['accepted']).toContain(
      code,
    );
  });
});

/** MTH of [RFC6962 §2.1] as it is written there. */
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return emptyRoot(portableCrypto);
  if (leaves.length === 1) return leaves[0] as Uint8Array;
  const k = 2 ** Math.ceil(Math.log2(leaves.length) - 1);
  return hashNode(naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)), portableCrypto);
}

/** PATH of [RFC6962 §2.1.1] as it is written there. */
function naivePath(m: number, leaves: readonly Uint8Array[]): Uint8Array[] {
  if (leaves.length <= 1) return [];
  const k = 2 ** Math.ceil(Math.log2(leaves.length) - 1);
  return m < k
    ? [...naivePath(m, leaves.slice(0, k)), naiveRoot(leaves.slice(k))]
    : [...naivePath(m - k, leaves.slice(k)), naiveRoot(leaves.slice(0, k))];
}

const leafHashes = Array.from({ length: 70 }, (_, i) => hashLeaf(Uint8Array.of(i), portableCrypto));
const readNode = ({ level, index }: TreeNode) =>
  naiveRoot(leafHashes.slice(Number(index) << level, (Number(index) + 1) << level));
const parts = (list: readonly (readonly TreeNode[])[]) =>
  list.map((part) => hashPart(part, readNode, portableCrypto));
const sizes = fc.integer({ min: 1, max: 70 });

describe('the tree, against the definition', () => {
  test('roots', () => {
    for (let n = 0; n <= 70; n++) {
      expect(treeRoot(BigInt(n), readNode, portableCrypto)).toEqual(naiveRoot(leafHashes.slice(0, n)));
    }
  });

  test('inclusion proofs are those of the definition, and hold for their own leaf alone', () => {
    fc.assert(
      fc.property(sizes, fc.nat(69), fc.nat(69), (size, i, other) => {
        const index = i % size;
        const proof = parts(inclusionParts(BigInt(index), BigInt(size)));
        expect(proof).toEqual(naivePath(index, leafHashes.slice(0, size)));
        const root = naiveRoot(leafHashes.slice(0, size));
        const claim = { index: BigInt(index), size: BigInt(size), proof, root };
        const leafHash = leafHashes[index] as Uint8Array;
        checkInclusion({ ...claim, leafHash }, portableCrypto);
        const wrong = other % size;
        if (wrong === index) return;
        const elsewhere = { ...claim, index: BigInt(wrong), leafHash };
        expect(codeOf(() => checkInclusion(elsewhere, portableCrypto))).toBe('TLOG_INCLUSION_MISMATCH');
      }),
      { numRuns: 60 },
    );
  });

  test('consistency proofs hold, and fail for any changed hash', () => {
    fc.assert(
      fc.property(sizes, sizes, fc.nat(), (a, b, at) => {
        const [oldSize, newSize] = [Math.min(a, b), Math.max(a, b)];
        const proof = parts(consistencyParts(BigInt(oldSize), BigInt(newSize)));
        const claim = {
          oldSize: BigInt(oldSize),
          newSize: BigInt(newSize),
          oldRoot: naiveRoot(leafHashes.slice(0, oldSize)),
          newRoot: naiveRoot(leafHashes.slice(0, newSize)),
          proof,
        };
        checkConsistency(claim, portableCrypto);
        const all = [...proof, claim.oldRoot, claim.newRoot].map((hash, i, { length }) =>
          i === at % length ? hash.map((byte, k) => (k === 31 ? byte ^ 1 : byte)) : hash,
        );
        const [oldRoot, newRoot] = all.splice(-2) as [Uint8Array, Uint8Array];
        const forged = { ...claim, proof: all, oldRoot, newRoot };
        expect(codeOf(() => checkConsistency(forged, portableCrypto))).toBe('TLOG_CONSISTENCY_MISMATCH');
      }),
      { numRuns: 60 },
    );
  });

  test('subtrees cover their range, each complete and in its place', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 1n << 40n), (size) => {
        let at = 0n;
        for (const { level, index } of completeSubtrees(0n, size)) {
          expect(index << BigInt(level)).toBe(at);
          at += 1n << BigInt(level);
        }
        expect(at).toBe(size);
      }),
    );
  });

  test.each([
    [0n, 0n],
    [5n, 5n],
    [-1n, 5n],
  ])('there is no proof of leaf %s of %s', (index, size) => {
    expect(codeOf(() => inclusionParts(index, size))).toBe('TLOG_INDEX_OUTSIDE_TREE');
    const claim = { index, size, leafHash: new Uint8Array(32), proof: [], root: new Uint8Array(32) };
    expect(codeOf(() => checkInclusion(claim, portableCrypto))).toBe('TLOG_INDEX_OUTSIDE_TREE');
  });

  test.each([
    [0n, 5n],
    [6n, 5n],
  ])('there is no consistency from %s to %s', (oldSize, newSize) => {
    expect(codeOf(() => consistencyParts(oldSize, newSize))).toBe('TLOG_CONSISTENCY_SIZES');
  });

  test('A46: a tree that shrank, forked, or was written anew is not what follows the last one seen', () => {
    const rootOf = (size: number, of = leafHashes) => naiveRoot(of.slice(0, size));
    const rewritten = leafHashes.map((hash, i) => (i === 3 ? hashLeaf(utf8('other'), portableCrypto) : hash));
    const follow = (newSize: bigint, newRoot: Uint8Array, proof: readonly Uint8Array[] = []) =>
      codeOf(() =>
        checkConsistency({ oldSize: 13n, oldRoot: rootOf(13), newSize, newRoot, proof }, portableCrypto),
      );
    const proof = parts(consistencyParts(13n, 20n));
    expect(follow(20n, rootOf(20), proof)).toBe('accepted');
    expect(follow(13n, rootOf(13))).toBe('accepted');
    expect(follow(12n, rootOf(12))).toBe('TLOG_CONSISTENCY_SIZES');
    expect(follow(0n, emptyRoot(portableCrypto))).toBe('TLOG_CONSISTENCY_SIZES');
    expect(follow(13n, rootOf(13, rewritten))).toBe('TLOG_CONSISTENCY_MISMATCH');
    expect(follow(20n, rootOf(20, rewritten), proof)).toBe('TLOG_CONSISTENCY_MISMATCH');
    expect(follow(20n, rootOf(20))).toBe('TLOG_CONSISTENCY_MISMATCH');
  });

  test('hashes of another length are refused before they are hashed', () => {
    const leafHash = leafHashes[0] as Uint8Array;
    const root = naiveRoot(leafHashes.slice(0, 2));
    const proof = [(leafHashes[1] as Uint8Array).subarray(1)];
    const claim = { index: 0n, size: 2n, leafHash, proof, root };
    expect(codeOf(() => checkInclusion(claim, portableCrypto))).toBe('TLOG_INCLUSION_MISMATCH');
  });
});
