// SPDX-License-Identifier: Apache-2.0
// The log over LevelDB: what it acknowledges is durable, unique and proved; what does not fit together is not opened.

import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { parseCheckpoint } from '../../../core/tlog/checkpoint.ts';
import { parseEntryBundle } from '../../../core/tlog/entry-bundle.ts';
import { checkConsistency, checkInclusion, hashLeaf } from '../../../core/tlog/merkle.ts';
import { parseNote } from '../../../core/tlog/note.ts';
import { nodeHasher } from '../../../registry/log/hash-tiles.ts';
import type { Appended } from '../../../registry/log/log-entry.ts';
import { TileLog, type TileLogOptions } from '../../../registry/log/tile-log.ts';
import { rowKey } from '../../../registry/log/tile-store.ts';
import { codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry, ORIGIN, sha256 } from './numbered-entry.ts';

/** Records how batches are written, and fails those that it is told to. */
class WatchedLevel extends Level<string, Uint8Array> {
  readonly synced: unknown[] = [];
  failing = false;

  async _batch(operations: unknown, options: { sync?: boolean }): Promise<void> {
    this.synced.push(options.sync);
    if (this.failing) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    // LevelDB's own implementation, which its types do not show.
    const parent = Level.prototype as unknown as { _batch(o: unknown, p: unknown): Promise<void> };
    await parent._batch.call(this, operations, options);
  }
}

const rowsOf = (db: Level<string, Uint8Array>) =>
  db.sublevel<string, Uint8Array>('tlog', { keyEncoding: 'utf8', valueEncoding: 'view' });

function checkAppended({ index, checkpoint, proof }: Appended, leaf: Uint8Array): void {
  const { size, rootHash } = parseCheckpoint(parseNote(checkpoint.note).text);
  checkInclusion({ index, size, leafHash: hashLeaf(leaf, nodeHasher), proof, root: rootHash }, nodeHasher);
}

describe('appending', () => {
  test('a new log has a checkpoint of size zero', async () => {
    const { log } = await openTiles(await newFolder());
    expect(log.checkpoint().size).toBe(0n);
    expect(await log.checkpointNote(0n)).toBe(log.checkpoint().note);
    expect([await log.tile(0, 0n, 1), await log.entryBundle(0n, 1), await log.leafBytes(0n)]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  test('200 at once get 200 indexes, each with a proof that holds, in few batches', async () => {
    const { log } = await openTiles(await newFolder());
    const numbers = Array.from({ length: 200 }, (_, i) => i);
    const done = await Promise.all(numbers.map((n) => log.append(entry(n))));
    expect(new Set(done.map(({ index }) => index)).size).toBe(200);
    expect(done.every(({ duplicate }) => !duplicate)).toBe(true);
    for (const n of numbers) {
      const appended = done[n] as Appended;
      checkAppended(appended, entry(n).leaf);
      expect(new Uint8Array((await log.leafBytes(appended.index)) ?? [])).toEqual(entry(n).leaf);
    }
    expect(log.checkpoint().size).toBe(200n);
    expect(new Set(done.map(({ checkpoint }) => checkpoint.size)).size).toBeLessThan(20);
  });

  test('checkpoints of all sizes are kept and consistent', async () => {
    const { log } = await openTiles(await newFolder());
    for (let n = 0; n < 12; n++) await log.append(entry(n));
    const { size: newSize, rootHash: newRoot } = log.checkpoint();
    for (let n = 1n; n <= 12n; n++) {
      const note = await log.checkpointNote(n);
      const { size: oldSize, rootHash: oldRoot } = parseCheckpoint(parseNote(note ?? '').text);
      expect(oldSize).toBe(n);
      const proof = await log.consistencyProof(oldSize, newSize);
      checkConsistency({ oldSize, oldRoot, newSize, newRoot, proof }, nodeHasher);
    }
    expect(await log.checkpointNote(13n)).toBeUndefined();
    expect(await codeOfAsync(log.inclusionProof(0n, 13n))).toBe('LOG_SIZE_UNPUBLISHED');
    expect(await codeOfAsync(log.consistencyProof(1n, 13n))).toBe('LOG_SIZE_UNPUBLISHED');
    expect(await codeOfAsync(log.consistencyProof(0n, 12n))).toBe('TLOG_CONSISTENCY_SIZES');
    expect(await codeOfAsync(log.inclusionProof(12n, 12n))).toBe('TLOG_INDEX_OUTSIDE_TREE');
  });

  test('an identity is logged once: within a batch, later, and after the log was opened again', async () => {
    const folder = await newFolder();
    const first = await openTiles(folder);
    const twins = await Promise.all([1, 1, 2, 1].map((n) => first.log.append(entry(n))));
    expect(twins.map(({ index, duplicate }) => [index, duplicate])).toEqual([
      [0n, false],
      [0n, true],
      [1n, false],
      [0n, true],
    ]);
    await first.log.append(entry(3));
    const later = await first.log.append(entry(1));
    expect([later.index, later.duplicate, later.checkpoint.size]).toEqual([0n, true, 3n]);
    checkAppended(later, entry(1).leaf);
    await first.close();
    const { log } = await openTiles(folder);
    const again = await log.append(entry(2));
    expect([again.index, again.duplicate, log.checkpoint().size]).toEqual([1n, true, 3n]);
    checkAppended(again, entry(2).leaf);
    expect((await log.append(entry(4))).index).toBe(3n);
  });

  test('an entry made for its index gets the index that it will have', async () => {
    const { log } = await openTiles(await newFolder(), { entryPath: 'data' });
    const made: bigint[] = [];
    const append = (n: number) =>
      log.append({
        identity: sha256(`${n}`),
        make: (index) => {
          made.push(index);
          if (n === 2) throw new RangeError('not this one');
          const text = `<${n}@${index}>`;
          return { entry: Buffer.from(text), leaf: Buffer.from(`leaf ${text}`) };
        },
      });
    const done = await Promise.allSettled([append(0), append(1), append(2), append(3)]);
    expect(done.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    expect(made).toEqual([0n, 1n, 2n, 2n]);
    expect(Buffer.from((await log.entryBundle(0n, 3)) ?? []).toString()).toBe('<0@0><1@1><3@2>');
    expect(Buffer.from((await log.leafBytes(2n)) ?? []).toString()).toBe('leaf <3@2>');
  });

  test('tiles and bundles of any published width, and none beyond', async () => {
    const { log } = await openTiles(await newFolder());
    await Promise.all(Array.from({ length: 300 }, (_, n) => log.append(entry(n))));
    expect((await log.tile(0, 0n))?.length).toBe(8192);
    expect((await log.tile(0, 1n, 44))?.length).toBe(44 * 32);
    expect((await log.tile(1, 0n, 1))?.length).toBe(32);
    expect(parseEntryBundle((await log.entryBundle(0n)) ?? new Uint8Array())).toHaveLength(256);
    const partial = parseEntryBundle((await log.entryBundle(1n, 44)) ?? new Uint8Array());
    expect(partial).toHaveLength(44);
    expect(new Uint8Array((await log.tile(0, 1n, 1)) ?? [])).toEqual(
      hashLeaf(partial[0] as Uint8Array, nodeHasher),
    );
    const beyond = [log.tile(0, 1n, 45), log.tile(0, 1n), log.tile(1, 0n, 2), log.tile(2, 0n, 1)];
    expect(await Promise.all([...beyond, log.entryBundle(1n, 45)])).toEqual(Array(5).fill(undefined));
  });

  test('too large an entry is refused alone', async () => {
    const { log } = await openTiles(await newFolder());
    const sized = (sizeBytes: number) => {
      const bytes = new Uint8Array(sizeBytes).fill(1);
      return codeOfAsync(log.append({ entry: bytes, leaf: bytes, identity: sha256(bytes) }));
    };
    expect(await Promise.all([sized(0), sized(1), sized(65_535), sized(65_536)])).toEqual([
      'LOG_ENTRY_SIZE',
      'accepted',
      'accepted',
      'LOG_ENTRY_SIZE',
    ]);
    expect(log.checkpoint().size).toBe(2n);
  });

  test('more than may wait are refused at once', async () => {
    const { log } = await openTiles(await newFolder(), { waitingCountMax: 5 });
    const codes = await Promise.all(Array.from({ length: 9 }, (_, n) => codeOfAsync(log.append(entry(n)))));
    expect(codes.filter((code) => code === 'LOG_BUSY')).toHaveLength(4);
    expect(log.checkpoint().size).toBe(5n);
  });

  test('closing finishes what was promised and takes no more', async () => {
    const folder = await newFolder();
    const { log, close } = await openTiles(folder);
    const waiting = Promise.all([1, 2, 3].map((n) => log.append(entry(n))));
    const closed = close();
    expect(await codeOfAsync(log.append(entry(4)))).toBe('LOG_CLOSED');
    expect(await waiting).toHaveLength(3);
    await closed;
    expect((await openTiles(folder)).log.checkpoint().size).toBe(3n);
  });

  test('a clock that runs backwards does not make an older checkpoint, not even after a restart', async () => {
    const folder = await newFolder();
    const times: number[] = [];
    let nowMs = 5000;
    const change: Partial<TileLogOptions> = {
      clock: () => nowMs,
      signCheckpoint: ({ timeMs }) => {
        times.push(timeMs);
        return `— ${ORIGIN} AAAAAAAA\n`;
      },
    };
    const first = await openTiles(folder, change);
    nowMs = 3000;
    await first.log.append(entry(1));
    await first.close();
    nowMs = 1000;
    const { log } = await openTiles(folder, change);
    await log.append(entry(2));
    nowMs = 9000.7;
    await log.append(entry(3));
    expect(times).toEqual([5000, 5000, 5000, 9000]);
  });
});

describe('durability', () => {
  test('each batch is synced, and nothing is acknowledged without one', async () => {
    const db = new WatchedLevel(await newFolder(), { keyEncoding: 'utf8', valueEncoding: 'view' });
    const { log } = await openTiles('', { db });
    await log.append(entry(1));
    await log.append(entry(2));
    expect(db.synced).toEqual([true, true, true]);
  });

  test('a failed write is acknowledged to nobody and stops the log; opened again, it goes on where the store is', async () => {
    const folder = await newFolder();
    const db = new WatchedLevel(folder, { keyEncoding: 'utf8', valueEncoding: 'view' });
    const first = await openTiles('', { db });
    const before = (await first.log.append(entry(1))).checkpoint;
    db.failing = true;
    expect(await codeOfAsync(first.log.append(entry(2)))).toBe('LOG_STORE_FAILED');
    db.failing = false;
    expect(await codeOfAsync(first.log.append(entry(3)))).toBe('LOG_STORE_FAILED');
    expect(first.log.checkpoint()).toEqual(before);
    expect(await first.log.tile(0, 0n, 2)).toBeUndefined();
    await first.close();
    const { log } = await openTiles(folder);
    expect((await log.append(entry(3))).index).toBe(1n);
  });

  test('those that waited behind a failed write are told too', async () => {
    const db = new WatchedLevel(await newFolder(), { keyEncoding: 'utf8', valueEncoding: 'view' });
    const { log } = await openTiles('', { db });
    db.failing = true;
    const codes = await Promise.all(
      Array.from({ length: 1500 }, (_, n) => codeOfAsync(log.append(entry(n)))),
    );
    expect(new Set(codes)).toEqual(new Set(['LOG_STORE_FAILED']));
  });

  test('a log that cannot be begun is not open', async () => {
    const db = new WatchedLevel(await newFolder(), { keyEncoding: 'utf8', valueEncoding: 'view' });
    await db.open();
    db.failing = true;
    expect(await codeOfAsync(openTiles('', { db }))).toBe('LOG_STORE_FAILED');
  });
});

describe('opening', () => {
  test('a second writer is kept out, in another process as in this one', async () => {
    const folder = await newFolder();
    const { log, db } = await openTiles(folder);
    expect(await codeOfAsync(openTiles(folder))).toBe('LOG_STORE_LOCKED');
    const options = {
      db,
      origin: ORIGIN,
      signCheckpoint: () => '',
      entryPath: 'entries',
      clock: Date.now,
    } as const;
    expect(await codeOfAsync(TileLog.open(options))).toBe('LOG_STORE_LOCKED');
    await log.close();
    await (await TileLog.open(options)).close();
  });

  test('a store that cannot be opened says so', async () => {
    const file = join(await newFolder(), 'file');
    await writeFile(file, 'not a database');
    expect(await codeOfAsync(openTiles(file))).toBe('LOG_STORE_UNOPENED');
  });

  test('a file of the database that is cut short shows when it is read', async () => {
    const folder = await newFolder();
    const { log, close } = await openTiles(folder);
    for (let n = 0; n < 20; n++) await log.append(entry(n));
    await close();
    // Another start makes tables of what was written.
    await (await openTiles(folder)).close();
    for (const name of (await readdir(folder)).filter((file) => file.endsWith('.ldb'))) {
      await truncate(join(folder, name), 100);
    }
    const db = new Level<string, Uint8Array>(folder);
    expect(await codeOfAsync(openTiles(folder, { db }))).toBe('LOG_STORE_UNOPENED');
    await db.close();
  });

  test('the store of another log is refused', async () => {
    const folder = await newFolder();
    await (await openTiles(folder)).close();
    expect(await codeOfAsync(openTiles(folder, { origin: 'other.example' }))).toBe('LOG_STORE_ORIGIN');
  });

  test('two logs live in one database, apart', async () => {
    const db = new Level<string, Uint8Array>(await newFolder());
    const { log: one } = await openTiles('', { db: db.sublevel('one') });
    const { log: two } = await openTiles('', { db: db.sublevel('two') });
    await one.append(entry(1));
    expect([one.checkpoint().size, two.checkpoint().size]).toEqual([1n, 0n]);
    expect((await two.append(entry(1))).duplicate).toBe(false);
    await db.close();
  });

  const flip = (bytes: Uint8Array | undefined) =>
    (bytes ?? new Uint8Array(1)).map((b, i) => (i === 0 ? b ^ 1 : b));
  type Rows = ReturnType<typeof rowsOf>;
  const damages: [string, number, (rows: Rows) => Promise<void>][] = [
    ['the last checkpoint is gone', 5, (rows) => rows.del(rowKey.checkpoint(5n))],
    ['every checkpoint is gone', 5, (rows) => rows.clear({ gte: 'checkpoint/', lt: 'checkpoint0' })],
    [
      'a hash is another',
      5,
      async (rows) => rows.put(rowKey.tile(0, 0n), flip(await rows.get(rowKey.tile(0, 0n)))),
    ],
    ['a tile is gone', 5, (rows) => rows.del(rowKey.tile(0, 0n))],
    ['a tile is short', 5, (rows) => rows.put(rowKey.tile(0, 0n), new Uint8Array(64))],
    [
      'an upper hash is another',
      256,
      async (rows) => rows.put(rowKey.tile(1, 0n), flip(await rows.get(rowKey.tile(1, 0n)))),
    ],
    ['an upper tile is gone', 256, (rows) => rows.del(rowKey.tile(1, 0n))],
    ['a late entry is another', 5, (rows) => rows.put(rowKey.entry(2n), Uint8Array.of(1))],
    ['a late entry is gone', 5, (rows) => rows.del(rowKey.entry(4n))],
    [
      'the last entry of a full tile is another',
      256,
      (rows) => rows.put(rowKey.entry(255n), Uint8Array.of(1)),
    ],
    ['there is an entry too many', 5, (rows) => rows.put(rowKey.entry(5n), Uint8Array.of(1))],
  ];
  test.each(damages)('refused: %s', async (_what, count, damage) => {
    const folder = await newFolder();
    const { log, db, close } = await openTiles(folder);
    for (let n = 0; n < count; n += 64) {
      await Promise.all(Array.from({ length: Math.min(64, count - n) }, (_, i) => log.append(entry(n + i))));
    }
    await damage(rowsOf(db));
    await close();
    expect(await codeOfAsync(openTiles(folder))).toBe('LOG_STORE_INCONSISTENT');
  });

  test('an old tile that was damaged proves nothing: the log stops before it answers with it', async () => {
    const folder = await newFolder();
    const { log, db, close } = await openTiles(folder);
    await Promise.all(Array.from({ length: 600 }, (_, n) => log.append(entry(n))));
    const rows = rowsOf(db);
    // The first hash is the sibling of the second.
    await rows.put(rowKey.tile(0, 0n), flip(await rows.get(rowKey.tile(0, 0n))));
    await close();
    const again = await openTiles(folder);
    expect(await codeOfAsync(again.log.append(entry(1)))).toBe('LOG_SELF_CHECK');
    expect(await codeOfAsync(again.log.append(entry(1000)))).toBe('LOG_SELF_CHECK');
    await again.close();
    const third = await openTiles(folder);
    await rowsOf(third.db).del(rowKey.tile(0, 0n));
    expect(await codeOfAsync(third.log.inclusionProof(3n, 600n))).toBe('LOG_SELF_CHECK');
    await rowsOf(third.db).del(rowKey.entry(0n));
    expect(await codeOfAsync(third.log.append(entry(0)))).toBe('LOG_SELF_CHECK');
  });
});
