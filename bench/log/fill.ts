// SPDX-License-Identifier: Apache-2.0
// Fills the log of a data folder with small entries, row for row as the log itself writes them [docs/spec/log.md §Storage], but in large
// batches: ten million through the front door would take hours.

import { join } from 'node:path';
import { Level } from 'level';
import { formatCheckpoint } from '../../core/tlog/checkpoint.ts';
import { hashLeaf } from '../../core/tlog/merkle.ts';
import { ED25519_NOTE, formatSignatureLine, noteKeyId } from '../../core/tlog/note.ts';
import { GrowingTree } from '../../registry/log/growing-tree.ts';
import { nodeHasher } from '../../registry/log/hash-tiles.ts';
import { LogHead } from '../../registry/log/log-head.ts';
import { openLogKey } from '../../registry/log/log-key.ts';
import { rowKey } from '../../registry/log/tile-store.ts';
import { serviceNames } from '../../registry/trust/services.ts';

const BATCH = 8192;

/** Makes a log of `size` entries in a data folder that was never served. */
export async function fillLog(folder: string, org: string, size: number): Promise<void> {
  const db = new Level<string, Uint8Array>(join(folder, 'state', 'db'), { valueEncoding: 'view' });
  const encodings = { keyEncoding: 'utf8', valueEncoding: 'view' };
  const rows = db
    .sublevel<string, Uint8Array>('log', encodings)
    .sublevel<string, Uint8Array>('tlog', encodings);
  await rows.open();
  const tree = await GrowingTree.open(0n, async () => undefined);
  for (let from = 0; from < size; from += BATCH) {
    const entries = Array.from({ length: Math.min(BATCH, size - from) }, (_, i) =>
      Buffer.from(`filled ${from + i}`),
    );
    const batch = rows.batch();
    entries.forEach((entry, i) => {
      const index = BigInt(from + i);
      batch.put(rowKey.entry(index), entry);
      batch.put(rowKey.identity(Buffer.from(nodeHasher.sha256(entry)).toString('hex')), bigEndian(index));
    });
    for (const { level, index, hashes } of tree.grow(entries.map((entry) => hashLeaf(entry, nodeHasher)))) {
      // The tile goes on growing in its buffer.
      batch.put(rowKey.tile(level, index), hashes.slice());
    }
    await batch.write();
  }
  const origin = serviceNames(org).log;
  const key = await openLogKey({ folder });
  const text = formatCheckpoint({ origin, size: BigInt(size), rootHash: tree.root(), extensions: [] });
  const keyId = noteKeyId(origin, ED25519_NOTE, key.publicKey, nodeHasher);
  const signature = await key.sign(Buffer.from(text));
  const line = formatSignatureLine({ name: origin, keyId, signature });
  const note = `${text}\n${line}`;
  const last = rows.batch();
  last.put(rowKey.checkpoint(BigInt(size)), Buffer.from(note));
  last.put(rowKey.clock, bigEndian(BigInt(Date.now())));
  await last.write();
  await db.close();
  const head = LogHead.in(join(folder, 'state', 'heads'), origin);
  await head.write(note);
  await head.close();
}

function bigEndian(n: bigint): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(n);
  return out;
}
