// SPDX-License-Identifier: Apache-2.0
// The tree at the size that the specification gives as its example, and over the edges of tiles.

import { expect, test } from 'vitest';
import { checkConsistency, checkInclusion, hashNode } from '../../../core/tlog/merkle.ts';
import { GrowingTree, MissingTile } from '../../../registry/log/growing-tree.ts';
import { HASH_BYTES, HashTile, nodeHasher } from '../../../registry/log/hash-tiles.ts';
import { sha256 } from './numbered-entry.ts';

const leafHashes = Array.from({ length: 70_000 }, (_, i) => sha256(`leaf ${i}`));

const known = new Map<string, Uint8Array>();

/** MTH of [RFC6962 §2.1] as it is written there. */
function naiveRoot(from: number, to: number): Uint8Array {
  if (to - from === 1) return leafHashes[from] as Uint8Array;
  const name = `${from} ${to}`;
  const middle = from + 2 ** Math.ceil(Math.log2(to - from) - 1);
  const root = known.get(name) ?? hashNode(naiveRoot(from, middle), naiveRoot(middle, to), nodeHasher);
  known.set(name, root);
  return root;
}

/** A tree that keeps what it changes in a map, as the log keeps it in LevelDB. */
async function grownTree(size: number, step: number) {
  const rows = new Map<string, Uint8Array>();
  const read = async (level: number, index: bigint, width: number) => {
    const row = rows.get(`${level}/${index}`);
    return row === undefined || row.length < width * HASH_BYTES
      ? undefined
      : row.slice(0, width * HASH_BYTES);
  };
  const tree = await GrowingTree.open(0n, read);
  for (let at = 0; at < size; at += step) {
    for (const { level, index, hashes } of tree.grow(leafHashes.slice(at, Math.min(size, at + step)))) {
      rows.set(`${level}/${index}`, hashes.slice());
    }
  }
  return { tree, rows, read };
}

test('70,000 leaves give the tiles of [C2SP-tlog-tiles-v0.1.0 §Partial Tiles], and their root', async () => {
  const { tree, rows } = await grownTree(70_000, 1000);
  const widths = (level: number) =>
    [...rows].filter(([key]) => key.startsWith(`${level}/`)).map(([, hashes]) => hashes.length / HASH_BYTES);
  expect(widths(0).filter((width) => width === 256)).toHaveLength(273);
  expect(widths(0).filter((width) => width < 256)).toEqual([112]);
  expect([...widths(1)].sort()).toEqual([17, 256]);
  expect([widths(2), widths(3)]).toEqual([[1], []]);
  expect(tree.root()).toEqual(naiveRoot(0, 70_000));
});

test.each([1, 2, 255, 256, 257, 512, 65_536, 65_537])(
  'a tree of %i leaves proves its leaves and its past, from memory and after it was opened again',
  async (size) => {
    const { tree, read } = await grownTree(size, 777);
    const again = await GrowingTree.open(BigInt(size), read);
    const root = naiveRoot(0, size);
    const picks = [0, 1, 254, 255, 256, 65_535, size >> 1, size - 1].filter((index) => index < size);
    for (const each of [tree, again]) {
      expect(each.root()).toEqual(root);
      for (const index of picks) {
        const claim = { index: BigInt(index), size: BigInt(size), root };
        const leafHash = leafHashes[index] as Uint8Array;
        expect(await each.leafHash(BigInt(index))).toEqual(leafHash);
        const proof = await each.inclusionProof(BigInt(index), BigInt(size));
        checkInclusion({ ...claim, leafHash, proof }, nodeHasher);
        const oldRoot = naiveRoot(0, index + 1);
        const sizes = { oldSize: BigInt(index + 1), newSize: BigInt(size), oldRoot, newRoot: root };
        checkConsistency(
          { ...sizes, proof: await each.consistencyProof(sizes.oldSize, sizes.newSize) },
          nodeHasher,
        );
      }
    }
  },
);

test('a tree ahead of what is published still proves smaller sizes', async () => {
  const { tree } = await grownTree(600, 600);
  const proof = await tree.inclusionProof(3n, 300n);
  const claim = {
    index: 3n,
    size: 300n,
    leafHash: leafHashes[3] as Uint8Array,
    proof,
    root: naiveRoot(0, 300),
  };
  checkInclusion(claim, nodeHasher);
});

test('a tile that became full and is stored nowhere yet is there, whatever is read meanwhile', async () => {
  const { tree } = await grownTree(69_800, 1000);
  // While a signer is away, nothing of this is written.
  tree.grow(leafHashes.slice(69_800));
  for (let index = 0n; index < 69_600n; index += 256n) await tree.inclusionProof(index, 69_800n);
  const proof = await tree.inclusionProof(69_801n, 70_000n);
  const leafHash = leafHashes[69_801] as Uint8Array;
  checkInclusion({ index: 69_801n, size: 70_000n, leafHash, proof, root: naiveRoot(0, 70_000) }, nodeHasher);
});

test('a tile that is missing or cut short is said to be', async () => {
  const { rows, read } = await grownTree(600, 600);
  rows.set('0/0', (rows.get('0/0') as Uint8Array).slice(32));
  const tree = await GrowingTree.open(600n, read);
  await expect(tree.inclusionProof(3n, 600n)).rejects.toThrow(MissingTile);
  rows.delete('0/2');
  await expect(GrowingTree.open(600n, read)).rejects.toThrow(MissingTile);
});

test('a tile knows which of its subtrees are complete', () => {
  const tile = HashTile.of(Buffer.concat(leafHashes.slice(0, 6)));
  expect(tile.subtree(2, 0)).toEqual(naiveRoot(0, 4));
  expect(tile.subtree(1, 2)).toEqual(naiveRoot(4, 6));
  expect(() => tile.subtree(2, 1)).toThrow(RangeError);
});
