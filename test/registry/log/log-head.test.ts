// SPDX-License-Identifier: Apache-2.0
// What a log published last, outside its database: an older database is noticed, and nobody sees what is not in it yet.

import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { LogHead } from '../../../registry/log/log-head.ts';
import { diskSlots, formatSlot, SLOT_BYTES, type SlotStorage } from '../../../registry/store/slot-file.ts';
import { codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry, ORIGIN } from './numbered-entry.ts';

/** A log with a head beside its database. */
async function newLog() {
  const folder = await newFolder();
  const [db, heads] = [join(folder, 'db'), join(folder, 'heads')];
  const path = join(heads, ORIGIN);
  const open = async (storage?: SlotStorage) => {
    const head = storage === undefined ? LogHead.in(heads, ORIGIN) : new LogHead(path, storage);
    const level = new Level<string, Uint8Array>(db);
    try {
      return await openTiles(db, { db: level, head });
    } catch (failure) {
      // What was refused is looked at again.
      await level.close();
      throw failure;
    }
  };
  /** Opens, appends these, closes. */
  const append = async (...numbers: readonly number[]) => {
    const { log, close } = await open();
    for (const n of numbers) await log.append(entry(n));
    await close();
  };
  return { folder, db, path, open, append };
}

/** Puts the database back to what `copy` holds. */
async function restore(db: string, copy: string): Promise<void> {
  await rm(db, { recursive: true });
  await cp(copy, db, { recursive: true });
}

describe('a database that is behind', () => {
  test('restored from an older copy', async () => {
    const { folder, db, open, append } = await newLog();
    await append(1, 2);
    await cp(db, join(folder, 'copy'), { recursive: true });
    await append(3);
    await restore(db, join(folder, 'copy'));
    const refused = open();
    expect(await codeOfAsync(refused)).toBe('LOG_STORE_BEHIND');
    await expect(refused).rejects.toMatchObject({
      message: expect.stringContaining('published size 3, got one of size 2'),
      row: { remedy: expect.stringMatching(/Restore the newer state\..*`waybill rotate <folder> log`/s) },
    });
  });

  test('gone altogether', async () => {
    const { db, open, append } = await newLog();
    await append();
    await rm(db, { recursive: true });
    expect(await codeOfAsync(open())).toBe('LOG_STORE_BEHIND');
  });

  test.each([
    ['as many entries, another tree', [4]],
    ['more entries, but the head is not among its checkpoints', [4, 5, 6]],
  ])('restored and gone on from: %s', async (_what, numbers) => {
    const { folder, db, open, append } = await newLog();
    await append(1, 2);
    await cp(db, join(folder, 'copy'), { recursive: true });
    await append(3);
    await restore(db, join(folder, 'copy'));
    // Without a head nobody notices.
    const { log, close } = await openTiles(db);
    for (const n of numbers) await log.append(entry(n));
    await close();
    expect(await codeOfAsync(open())).toBe('LOG_STORE_BEHIND');
  });
});

describe('the file', () => {
  test('begins with the log, holds its last checkpoint, and has one size for ever', async () => {
    const { path, open } = await newLog();
    const { log, close } = await open();
    expect((await readFile(path)).length).toBe(2 * SLOT_BYTES);
    for (let n = 0; n < 5; n++) await log.append(entry(n));
    const bytes = await readFile(path, 'latin1');
    expect([4n, 5n].map((size) => bytes.includes(`${ORIGIN}\n${size}\n`))).toEqual([true, true]);
    expect(bytes.length).toBe(2 * SLOT_BYTES);
    await close();
  });

  test('is not made anew for a log with entries, unless an empty one says that it may be', async () => {
    const { path, open, append } = await newLog();
    await append();
    await rm(path);
    await append(1);
    await rm(path);
    expect(await codeOfAsync(open())).toBe('LOG_HEAD_MISSING');
    await writeFile(path, '');
    await append(2);
    expect((await readFile(path, 'latin1')).includes(`${ORIGIN}\n2\n`)).toBe(true);
  });

  const slots = (first: string, second?: string) =>
    Buffer.concat([
      formatSlot(Buffer.from(first)),
      second === undefined ? Buffer.alloc(SLOT_BYTES) : formatSlot(Buffer.from(second)),
    ]);
  const note = (origin: string) => `${origin}\n0\n${'A'.repeat(43)}=\n\n— ${origin} AAAAAAAA\n`;
  test.each([
    ['is of another length', Buffer.alloc(SLOT_BYTES)],
    ['holds no whole slot', Buffer.alloc(2 * SLOT_BYTES)],
    ['holds no note', slots('hello')],
    ['holds no UTF-8', Buffer.concat([formatSlot(Buffer.of(0xff)), Buffer.alloc(SLOT_BYTES)])],
    ['is of another log', slots(note('other.example'))],
  ])('is refused if it %s', async (_what, bytes) => {
    const { path, open, append } = await newLog();
    await append(1);
    await writeFile(path, bytes);
    expect(await codeOfAsync(open())).toBe('LOG_HEAD_MALFORMED');
  });

  test('counts by its older note where the newer was cut off', async () => {
    const { path, open, append } = await newLog();
    await append(1);
    const { log, close } = await open();
    await log.append(entry(2));
    await close();
    const bytes = await readFile(path);
    const newer = bytes.includes(`${ORIGIN}\n2\n`) ? bytes.indexOf(`${ORIGIN}\n2\n`) : -1;
    expect(newer).toBeGreaterThan(SLOT_BYTES);
    bytes.fill(0, newer + 20, newer + 40);
    await writeFile(path, bytes);
    await append(3);
    // The older one still holds the log to what it says.
    expect((await readFile(path, 'latin1')).includes(`${ORIGIN}\n3\n`)).toBe(true);
  });

  test('cannot be read: the log does not start', async () => {
    const { path, open } = await newLog();
    await mkdir(path, { recursive: true });
    expect(await codeOfAsync(open())).toBe('LOG_STORE_FAILED');
  });

  test('a note that does not fit is refused before anything is written', async () => {
    const { path, append } = await newLog();
    await append();
    const before = await readFile(path);
    const head = new LogHead(path);
    await expect(head.write('x'.repeat(SLOT_BYTES))).rejects.toThrow(RangeError);
    expect(await readFile(path)).toEqual(before);
  });

  test('another process that writes it stops the log', async () => {
    const { path, open } = await newLog();
    const { log, close } = await open();
    const before = (await log.append(entry(1))).checkpoint;
    const bytes = await readFile(path);
    await new LogHead(path).write(before.note);
    expect(await readFile(path)).not.toEqual(bytes);
    expect(await codeOfAsync(log.append(entry(2)))).toBe('LOG_HEAD_CHANGED');
    expect(await codeOfAsync(log.append(entry(3)))).toBe('LOG_HEAD_CHANGED');
    expect(log.checkpoint()).toEqual(before);
    await close();
  });
});

describe('a log that never began', () => {
  /** A log with the mark that `waybill init` makes. */
  async function marked() {
    const folder = await newFolder();
    const [db, heads, mark] = [join(folder, 'db'), join(folder, 'heads'), join(folder, 'unbegun', 'log')];
    const path = join(heads, ORIGIN);
    await mkdir(join(folder, 'unbegun'));
    await writeFile(mark, '');
    const isThere = (at: string) => readFile(at).then(Boolean, () => false);
    const open = async (storage?: SlotStorage) => {
      const level = new Level<string, Uint8Array>(db);
      const head = new LogHead(path, storage, mark);
      try {
        return await openTiles(db, { db: level, head });
      } catch (failure) {
        await level.close();
        throw failure;
      }
    };
    return { db, path, mark, isThere, open };
  }

  test('begins by its mark, once', async () => {
    const { db, path, mark, isThere, open } = await marked();
    const { close } = await open();
    expect(await isThere(mark)).toBe(false);
    await close();
    await (await open()).close();
    // Empty as it was, the head says that it had begun.
    await rm(path);
    expect(await codeOfAsync(open())).toBe('LOG_HEAD_MISSING');
    await rm(db, { recursive: true });
    expect(await codeOfAsync(open())).toBe('LOG_HEAD_MISSING');
    await writeFile(path, '');
    await (await open()).close();
  });

  test('the mark goes when database and head are durable, and a start that was cut off anywhere before is made again', async () => {
    const { db, path, mark, isThere, open } = await marked();
    const disk = diskSlots(path);
    const seen: unknown[] = [];
    const cutOff = async (when: 'before' | 'after') => {
      const create = async (bytes: Uint8Array) => {
        if (when === 'after') await disk.create(bytes);
        seen.push([when, await isThere(mark), await isThere(path), await isThere(join(db, 'CURRENT'))]);
        throw new Error('cut off');
      };
      expect(await codeOfAsync(open({ ...disk, create }))).toBe('LOG_STORE_FAILED');
    };
    await cutOff('before');
    await cutOff('after');
    expect(seen).toEqual([
      ['before', true, false, true],
      ['after', true, true, true],
    ]);
    const { log, close } = await open();
    expect(await isThere(mark)).toBe(false);
    await log.append(entry(1));
    await close();
  });

  test('a mark that comes back out of a copy does no harm beside a head', async () => {
    const { db, mark, open } = await marked();
    await (await open()).close();
    await writeFile(mark, '');
    await rm(db, { recursive: true });
    expect(await codeOfAsync(open())).toBe('LOG_STORE_BEHIND');
  });

  test('a mark that cannot be removed: the log does not begin', async () => {
    const { mark, open } = await marked();
    await rm(mark);
    await mkdir(mark);
    expect(await codeOfAsync(open())).toBe('LOG_STORE_FAILED');
  });
});

describe('the order', () => {
  test('in the database, then in the head, then visible', async () => {
    const { path, open } = await newLog();
    const disk = diskSlots(path);
    const seen: unknown[] = [];
    let look = async (_bytes: Uint8Array): Promise<void> => undefined;
    const { log, close } = await open({
      ...disk,
      overwrite: async (offset, bytes) => {
        await look(bytes);
        await disk.overwrite(offset, bytes);
      },
    });
    look = async (bytes) => {
      const size = BigInt(/\n(\d+)\n/.exec(Buffer.from(bytes).toString('latin1'))?.[1] ?? -1);
      const inDatabase = (await log.checkpointNote(size)) !== undefined;
      const tile = await log.tile(0, 0n, Number(size));
      seen.push([size, inDatabase, log.checkpoint().size, await log.leafBytes(size - 1n), tile]);
    };
    let acknowledged = 0;
    for (const n of [1, 2]) {
      await log.append(entry(n));
      acknowledged++;
      expect(seen).toHaveLength(acknowledged);
    }
    expect(seen).toEqual([
      [1n, true, 0n, undefined, undefined],
      [2n, true, 1n, undefined, undefined],
    ]);
    expect(await log.tile(0, 0n, 2)).toHaveLength(64);
    await close();
  });

  test('a head that cannot be written stops the log before anybody sees the checkpoint, whichever write it is', async () => {
    for (let failing = 0; failing < 6; failing++) {
      const { path, open } = await newLog();
      const disk = diskSlots(path);
      let left = failing;
      const maybeFail = () => {
        if (left-- === 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      };
      const storage: SlotStorage = {
        ...disk,
        create: async (bytes) => {
          maybeFail();
          await disk.create(bytes);
        },
        overwrite: async (offset, bytes) => {
          // What fails may have been written all the same.
          if (failing % 2 === 1) await disk.overwrite(offset, bytes);
          maybeFail();
          if (failing % 2 === 0) await disk.overwrite(offset, bytes);
        },
      };
      const acknowledged: bigint[] = [];
      let failure = 'none';
      try {
        const { log, close } = await open(storage);
        for (let n = 0; n < 5; n++) {
          const before = log.checkpoint();
          const code = await codeOfAsync(log.append(entry(n)));
          if (code === 'accepted') acknowledged.push(log.checkpoint().size);
          else {
            failure = code;
            expect(log.checkpoint()).toEqual(before);
          }
        }
        await close();
      } catch (cause) {
        failure = (cause as { code: string }).code;
      }
      expect(failure).toBe('LOG_STORE_FAILED');
      expect(acknowledged).toHaveLength(Math.max(0, failing - 1));
      const { log, close } = await open();
      // The entry that nobody was told of is there, and is told when it is sent again.
      for (let n = 0; n < 5; n++) expect((await log.append(entry(n))).index).toBe(BigInt(n));
      await close();
    }
  });
});
