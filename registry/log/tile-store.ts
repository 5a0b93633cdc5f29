// SPDX-License-Identifier: Apache-2.0
// Rows of a tiled log in LevelDB [docs/spec/log.md §Storage]. Numbers in keys have a fixed width, so keys sort as numbers do.

import type { Level } from 'level';
import { LOG } from '../log-faults.ts';
import { SyncedWrites } from '../store/synced-writes.ts';
import { HASH_BYTES, TILE_WIDTH } from './hash-tiles.ts';
import type { CheckpointBody, PublishedCheckpoint } from './log-entry.ts';

/** A LevelDB database or a sublevel of one, of whatever encodings. */
export interface LogDatabase {
  open(): Promise<void>;
  sublevel(name: string, options: { keyEncoding: string; valueEncoding: string }): unknown;
}

/** The rows of one log. */
export type LogRows = ReturnType<typeof rowsOf>;

/** The rows of the log in a database. */
export function rowsOf(db: LogDatabase) {
  // Level's types fix the encodings of the parent, which play no part here.
  return (db as unknown as Level<string, unknown>).sublevel<string, Uint8Array>('tlog', {
    keyEncoding: 'utf8',
    valueEncoding: 'view',
  });
}

/** One row to write. */
export interface Row {
  readonly key: string;
  readonly value: Uint8Array;
}

const wide = (n: bigint): string => n.toString(16).padStart(16, '0');

/** Keys of the rows. */
export const rowKey = {
  checkpoint: (size: bigint) => `checkpoint/${wide(size)}`,
  entry: (index: bigint) => `entry/${wide(index)}`,
  leaf: (index: bigint) => `leaf/${wide(index)}`,
  identity: (identity: string) => `identity/${identity}`,
  tile: (level: number, index: bigint) => `tile/${level.toString(16).padStart(2, '0')}/${wide(index)}`,
  clock: 'clock',
  cosigned: 'cosigned',
  unsigned: 'unsigned',
};

const LAST = 'f'.repeat(17);
const text = new TextDecoder();

/** Reads and writes rows; knows nothing of trees. */
export class TileStore {
  private readonly rows: LogRows;

  private constructor(rows: LogRows) {
    this.rows = rows;
  }

  /** @throws LOG_STORE_LOCKED, LOG_STORE_UNOPENED */
  static async open(db: LogDatabase): Promise<TileStore> {
    try {
      await db.open();
      const rows = rowsOf(db);
      await rows.open();
      return new TileStore(rows);
    } catch (cause) {
      if (isLocked(cause)) {
        throw LOG.unavailable(
          'LOG_STORE_LOCKED',
          'expected to be the only writer, got a lock held by another',
          {
            cause,
          },
        );
      }
      throw unopened(cause);
    }
  }

  /** Identifies the rows within the process, to keep a second writer out. */
  place(): { readonly root: object; readonly prefix: string } {
    return { root: this.rows.db, prefix: this.rows.prefix };
  }

  /** Writes all rows or none, and returns when they would survive a power cut. */
  async commit(rows: readonly Row[]): Promise<void> {
    const sublevel = this.rows;
    await SyncedWrites.of(sublevel.db).write(rows.map((row) => ({ type: 'put', sublevel, ...row })));
  }

  /** The indexes that identities have; undefined for new ones. */
  async indexes(identities: readonly string[]): Promise<(bigint | undefined)[]> {
    const rows = await this.rows.getMany(identities.map(rowKey.identity));
    return rows.map((row) => (row === undefined ? undefined : unsigned(row)));
  }

  /** True if an identity has an index; at once, for what must not wait. */
  has(identity: string): boolean {
    return this.rows.getSync(rowKey.identity(identity)) !== undefined;
  }

  /** The time of the last checkpoint, milliseconds since 1970. */
  async clockMs(): Promise<number> {
    const row = await this.rows.get(rowKey.clock);
    return row === undefined ? 0 : Number(unsigned(row));
  }

  async checkpoint(size: bigint): Promise<string | undefined> {
    const note = await this.rows.get(rowKey.checkpoint(size));
    return note === undefined ? undefined : text.decode(note);
  }

  /** The bytes hashed at an index: a row of their own where they differ from the entry. */
  async leaf(index: bigint): Promise<Uint8Array | undefined> {
    const [leaf, entry] = await this.rows.getMany([rowKey.leaf(index), rowKey.entry(index)]);
    return leaf ?? entry;
  }

  /** The last note that witnesses cosigned. */
  async cosigned(): Promise<string | undefined> {
    const note = await this.rows.get(rowKey.cosigned);
    return note === undefined ? undefined : text.decode(note);
  }

  /** The last batch that was kept before its checkpoint was signed. */
  unsigned(): Promise<Uint8Array | undefined> {
    return this.rows.get(rowKey.unsigned);
  }

  /** The note of the largest published tree. */
  async lastCheckpoint(): Promise<string | undefined> {
    for await (const note of this.rows.values({
      gte: 'checkpoint/',
      lte: `checkpoint/${LAST}`,
      reverse: true,
      limit: 1,
    })) {
      return text.decode(note);
    }
    return undefined;
  }

  /** The entries from `from` up to, not including, `to`, in order. */
  async entries(from: bigint, to: bigint): Promise<Uint8Array[]> {
    return this.rows.values({ gte: rowKey.entry(from), lt: rowKey.entry(to) }).all();
  }

  /** True if any entry stands at `index` or after it. */
  async hasEntryFrom(index: bigint): Promise<boolean> {
    const found = await this.rows.keys({ gte: rowKey.entry(index), lte: `entry/${LAST}`, limit: 1 }).all();
    return found.length > 0;
  }

  /** The first `width` hashes of a tile; undefined if fewer are stored. */
  async tile(level: number, index: bigint, width = TILE_WIDTH): Promise<Uint8Array | undefined> {
    const row = await this.rows.get(rowKey.tile(level, index));
    return row === undefined || row.length < width * HASH_BYTES
      ? undefined
      : row.subarray(0, width * HASH_BYTES);
  }
}

/** The rows of a checkpoint that was signed at a time. */
export function checkpointRows(body: CheckpointBody, { size, note }: PublishedCheckpoint): Row[] {
  return [
    { key: rowKey.checkpoint(size), value: new TextEncoder().encode(note) },
    { key: rowKey.clock, value: bigEndian(BigInt(body.timeMs)) },
  ];
}

export function bigEndian(n: bigint): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, n);
  return out;
}

function unsigned(row: Uint8Array): bigint {
  return new DataView(row.buffer, row.byteOffset, row.length).getBigUint64(0);
}

/** True for a failure of LevelDB itself: a damaged file shows when it is read. */
export function isOfDatabase(failure: unknown): boolean {
  return String((failure as NodeJS.ErrnoException | null)?.code).startsWith('LEVEL_');
}

/** The store cannot be read. */
export function unopened(cause: unknown): Error {
  return LOG.unavailable('LOG_STORE_UNOPENED', `could not open the store: ${String(cause)}`, { cause });
}

function isLocked(failure: unknown): boolean {
  for (let at = failure; at instanceof Error; at = at.cause) {
    if ((at as NodeJS.ErrnoException).code === 'LEVEL_LOCKED') return true;
  }
  return false;
}
