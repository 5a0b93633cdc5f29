// SPDX-License-Identifier: Apache-2.0
// The n-th write of a log fails, for every n, whether or not it reached the disk: the log stops, and opening it again settles which.

import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { expect, test } from 'vitest';
import { LogHead } from '../../../registry/log/log-head.ts';
import { diskSlots } from '../../../registry/store/slot-file.ts';
import { codeOfAsync } from '../../core/tlog/refusal.ts';
import { newFolder, openTiles } from './log-folder.ts';
import { entry, ORIGIN } from './numbered-entry.ts';
import { soundness } from './power-cuts.ts';

const fault = (code: string) => Object.assign(new Error(code), { code });

/** Counts the writes to database and head, and fails one of them before or after it happens. */
class Failing {
  #left: number;
  readonly #when: 'before' | 'after';
  readonly #code: string;
  constructor(n: number, when: 'before' | 'after', code: string) {
    this.#left = n;
    this.#when = when;
    this.#code = code;
  }
  async pass<T>(write: () => Promise<T>): Promise<T> {
    const isHit = this.#left-- === 0;
    if (isHit && this.#when === 'before') throw fault(this.#code);
    const done = await write();
    if (isHit) throw fault(this.#code);
    return done;
  }
}

class FailingLevel extends Level<string, Uint8Array> {
  failing: Failing | undefined;
  async _batch(operations: unknown, options: unknown): Promise<void> {
    // LevelDB's own implementation, which its types do not show.
    const parent = Level.prototype as unknown as { _batch(o: unknown, p: unknown): Promise<void> };
    const write = () => parent._batch.call(this, operations, options);
    await (this.failing === undefined ? write() : this.failing.pass(write));
  }
}

test.each([
  ['before', 'EIO'],
  ['after', 'ENOSPC'],
] as const)('a write that fails %s it happens (%s)', { timeout: 60_000 }, async (when, code) => {
  const home = await newFolder();
  const [db, heads] = [join(home, 'db'), join(home, 'heads')];
  const notes = new Map<bigint, string>();
  let reached = 0;
  for (let n = 0; n < 19; n++) {
    await rm(db, { recursive: true, force: true });
    await rm(heads, { recursive: true, force: true });
    const failing = new Failing(n, when, code);
    const level = new FailingLevel(db, { keyEncoding: 'utf8', valueEncoding: 'view' });
    level.failing = failing;
    const disk = diskSlots(join(heads, ORIGIN));
    const head = new LogHead(join(heads, ORIGIN), {
      ...disk,
      create: (bytes) => failing.pass(() => disk.create(bytes)),
      overwrite: (offset, bytes) => failing.pass(() => disk.overwrite(offset, bytes)),
    });
    const acknowledged: bigint[] = [];
    let failures = 0;
    try {
      const { log, close } = await openTiles('', { db: level, head });
      for (let i = 0; i < 8; i++) {
        const outcome = await codeOfAsync(log.append(entry(i)));
        if (outcome === 'accepted') acknowledged.push(BigInt(i));
        else failures++;
        expect(['accepted', 'LOG_STORE_FAILED']).toContain(outcome);
        // Once it has failed it takes nothing more.
        if (failures > 0) expect(outcome).not.toBe('accepted');
        notes.set(log.checkpoint().size, log.checkpoint().note);
      }
      await close();
    } catch (failure) {
      expect(failure).toMatchObject({ code: 'LOG_STORE_FAILED' });
      failures++;
      await level.close();
    }
    if (failures > 0) reached++;
    const copy = join(home, 'copy');
    await cp(db, copy, { recursive: true });
    const again = await openTiles(copy, { head: LogHead.in(heads, ORIGIN) });
    for (const i of acknowledged) {
      expect(Buffer.from((await again.log.leafBytes(i)) ?? []).toString()).toBe(`entry ${i}`);
    }
    for (const [size, note] of notes) {
      if (size <= again.log.checkpoint().size) expect(await again.log.checkpointNote(size)).toBe(note);
    }
    for (let i = 0; i < 8; i++) expect((await again.log.append(entry(i))).index).toBe(BigInt(i));
    expect(await soundness(again.db as never)).toEqual([]);
    await again.close();
    await rm(copy, { recursive: true });
  }
  // Begin, head, and two writes an entry: each has failed once, and a run without a failure was among them.
  expect(reached).toBe(18);
});
