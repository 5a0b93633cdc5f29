// SPDX-License-Identifier: Apache-2.0
// kill -9 under load: what was acknowledged is there afterwards, at its index, and no size ever had two checkpoints. This
// says nothing of power cuts, which the test of synced batches does.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { checkConsistency, checkInclusion, hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { nodeHasher } from '../../../registry/log/hash-tiles.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry } from './numbered-entry.ts';

interface Acknowledged {
  readonly n: number;
  readonly index: bigint;
  readonly size: bigint;
  readonly note: string;
}

/** Runs the appending process until it has acknowledged `count` entries and a little longer, then kills it. */
async function runAndKill(folder: string, first: number, count: number): Promise<Acknowledged[]> {
  const script = join(import.meta.dirname, 'append-until-killed.ts');
  const child = spawn(process.execPath, [script, folder, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const before = text.length;
    text += chunk.toString();
    const lines = text.split('\n').length - 1;
    if (lines >= count && text.slice(0, before).split('\n').length - 1 < count) {
      setTimeout(() => child.kill('SIGKILL'), Math.random() * 20);
    }
  });
  const closed = once(child.stdout, 'close');
  const [, signal] = await ended;
  await closed;
  expect(signal).toBe('SIGKILL');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [n, index, size, note] = line.split(' ') as [string, string, string, string];
      return {
        n: Number(n),
        index: BigInt(index),
        size: BigInt(size),
        note: Buffer.from(note, 'base64').toString(),
      };
    });
}

test('five kills lose nothing and fork nothing', async () => {
  const folder = await newFolder();
  const all: Acknowledged[] = [];
  for (let run = 0; run < 5; run++) {
    all.push(...(await runAndKill(folder, run * 1_000_000, 100 + Math.floor(Math.random() * 400))));
    const { log, close } = await openTiles(folder);
    const { size: newSize, rootHash: newRoot } = log.checkpoint();
    expect(new Set(all.map(({ index }) => index)).size).toBe(all.length);
    for (const { n, index, size, note } of all) {
      const { leaf } = entry(n);
      expect(Buffer.from((await log.leafBytes(index)) ?? [])).toEqual(Buffer.from(leaf));
      expect(await log.checkpointNote(size)).toBe(note);
      const proof = await log.inclusionProof(index, newSize);
      checkInclusion(
        { index, size: newSize, leafHash: hashLeaf(leaf, nodeHasher), proof, root: newRoot },
        nodeHasher,
      );
    }
    for (const { size: oldSize, note } of all.filter((_, i) => i % 50 === 0)) {
      const { rootHash: oldRoot } = parseCheckpoint(parseNote(note).text);
      const proof = await log.consistencyProof(oldSize, newSize);
      checkConsistency({ oldSize, oldRoot, newSize, newRoot, proof }, nodeHasher);
    }
    await close();
  }
  expect(all.length).toBeGreaterThan(500);
}, 60_000);
