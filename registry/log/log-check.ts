// SPDX-License-Identifier: Apache-2.0
// Recomputes a tiled log from its entries and says where its rows differ [docs/spec/fsck.md §Logs]. Reads each row once, in order, so
// memory does not grow with the log. Of an entry speak three rows that follow from it: where two agree, the third is the bad place.

import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { hashLeaf, sameBytes } from '../../core/tlog/merkle.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { type ChangedTile, GrowingTree } from './growing-tree.ts';
import { HASH_BYTES, nodeHasher, TILE_WIDTH } from './hash-tiles.ts';
import { RowCursor } from './row-cursor.ts';
import { type LogRows, rowKey } from './tile-store.ts';
import { parseUnsigned } from './unsigned-batch.ts';

/** Something that is not as it should be, and where: a row or a file. */
export interface Finding {
  readonly at: string;
  readonly problem: string;
}

export interface LogCheckOptions {
  readonly rows: LogRows;
  /** Goes in front of the keys of rows. */
  readonly name: string;
  readonly origin: string;
  /** The leaf that follows from an entry, and its identity. Throws if it is no entry. */
  readonly readEntry: (entry: Uint8Array, index: bigint) => { leaf: Uint8Array; identity: Uint8Array };
  /** Throws unless the log's key signed the note; returns its time, milliseconds since 1970, if it carries one. */
  readonly verifyNote: (note: string) => number | undefined;
  /** Called after each tile of entries; throws to end the check. */
  readonly progress: (index: bigint) => void;
}

const WIDTH = BigInt(TILE_WIDTH);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = new TextDecoder();

/** Checks all rows of one log; each finding once, the first bad place first. */
export class LogCheck {
  readonly #options: LogCheckOptions;
  readonly #cursors = new Map<string, RowCursor>();
  /** Not full tiles above level 0, by level. */
  readonly #partial = new Map<number, ChangedTile>();
  readonly #levels = new Set<number>([0]);
  #lost = 0n;
  /** The size of the largest checkpoint that the log's key signed: so many entries were there once. */
  #promised = 0n;
  #lastTimeMs = 0;

  constructor(options: LogCheckOptions) {
    this.#options = options;
  }

  /** Runs the check. The result is the number of entries. */
  async *run(): AsyncGenerator<Finding, bigint> {
    try {
      const size = yield* this.#tree();
      yield* this.#edge(size);
      yield* this.#identities(size);
      yield* this.#single();
      yield* this.#unknownRows();
      return size;
    } finally {
      for (const cursor of this.#cursors.values()) await cursor.close();
    }
  }

  #finding(key: string, problem: string): Finding {
    return { at: `${this.#options.name}/${key}`, problem };
  }

  #cursor(prefix: string): RowCursor {
    const cursor = this.#cursors.get(prefix) ?? new RowCursor(this.#options.rows, prefix);
    this.#cursors.set(prefix, cursor);
    return cursor;
  }

  /** The row that should come next of its kind; rows before it should not be there. */
  async *#expect(prefix: string, key: string): AsyncGenerator<Finding, Uint8Array | undefined> {
    const cursor = this.#cursor(prefix);
    for (;;) {
      const next = await cursor.peek();
      if (next === undefined || next[0] > key) return undefined;
      await cursor.next();
      if (next[0] === key) return next[1];
      yield this.#finding(next[0], 'expected no such row');
    }
  }

  async *#tree(): AsyncGenerator<Finding, bigint> {
    const tree = await GrowingTree.open(0n, async () => undefined);
    this.#promised = await this.#promisedSize();
    yield* this.#checkpoint(tree, rowKey.checkpoint(0n));
    yield* this.#checkpoints(tree);
    for (;;) {
      const hashes = yield* this.#hashes(tree.size);
      if (hashes.length === 0) return tree.size;
      for (let at = 0; at < hashes.length; ) {
        const next = await this.#cursor('checkpoint/').peek();
        const left = next === undefined ? WIDTH : sizeOf(next[0]) - tree.size;
        const count = left < WIDTH ? Number(left) : TILE_WIDTH;
        for (const tile of tree.grow(hashes.slice(at, at + count))) yield* this.#upperTile(tile);
        at += count;
        yield* this.#checkpoints(tree);
      }
      if (hashes.length < TILE_WIDTH) return tree.size;
    }
  }

  async #promisedSize(): Promise<bigint> {
    const range = { gte: 'checkpoint/', lt: 'checkpoint0', reverse: true };
    for await (const note of this.#options.rows.values(range)) {
      try {
        this.#options.verifyNote(text.decode(note));
        return parseCheckpoint(parseNote(text.decode(note)).text).size;
      } catch {
        // It is named when its turn comes.
      }
    }
    return 0n;
  }

  /** The leaf hashes of the tile of entries from `first` on; fewer than a tile at the end. */
  async *#hashes(first: bigint): AsyncGenerator<Finding, Uint8Array[]> {
    const { rows, progress } = this.#options;
    progress(first);
    const tileKey = rowKey.tile(0, first / WIDTH);
    const tile = yield* this.#expect('tile/00/', tileKey);
    const hashes: Uint8Array[] = [];
    let isTileBad = false;
    const read: { index: bigint; entry: EntryRead; stored: Uint8Array | undefined }[] = [];
    for (let index = first; index < first + WIDTH; index++) {
      const at = Number(index - first) * HASH_BYTES;
      const stored =
        tile !== undefined && tile.length >= at + HASH_BYTES ? tile.subarray(at, at + HASH_BYTES) : undefined;
      const entry = yield* this.#entry(index, stored);
      if (entry === undefined) break;
      read.push({ index, entry, stored });
    }
    if (tile === undefined && read.length > 0) {
      isTileBad = true;
      yield this.#finding(tileKey, 'expected this tile, found none');
    }
    const identities = await rows.getMany(read.map(({ entry }) => rowKey.identity(entry.identity)));
    for (const [i, { index, entry, stored }] of read.entries()) {
      if (entry.kind === 'lost') {
        hashes.push(entry.hash);
        continue;
      }
      const place = identities[i];
      const isKnown = place !== undefined && sameBytes(place, bigEndian(index));
      const isTree = stored !== undefined && sameBytes(stored, entry.hash);
      if (!isKnown) this.#lost += place === undefined ? 1n : 0n;
      if (!isKnown && !isTree && !isTileBad) {
        yield this.#finding(
          rowKey.entry(index),
          entry.problem ?? 'expected the entry that was logged, got another',
        );
      } else if (!isKnown) {
        const got = place === undefined ? 'found none' : `got ${hex(place)}`;
        yield this.#finding(rowKey.identity(entry.identity), `expected a row with index ${index}, ${got}`);
      } else if (!isTree && !isTileBad) {
        isTileBad = true;
        yield this.#finding(tileKey, `expected the hash of entry ${index}, got another or none`);
      } else if (entry.problem !== undefined) yield this.#finding(rowKey.entry(index), entry.problem);
      hashes.push(isKnown || stored === undefined ? entry.hash : stored);
    }
    if (tile !== undefined && !isTileBad && tile.length !== read.length * HASH_BYTES) {
      yield this.#finding(tileKey, `expected ${read.length} hashes, got ${tile.length} bytes`);
    }
    return hashes;
  }

  /** The entry at an index. One that is gone is stood in for by its hash in the tile; undefined at the end of the log. */
  async *#entry(
    index: bigint,
    stored: Uint8Array | undefined,
  ): AsyncGenerator<Finding, EntryRead | undefined> {
    const key = rowKey.entry(index);
    const entry = yield* this.#expect('entry/', key);
    const leafRow = yield* this.#expect('leaf/', rowKey.leaf(index));
    if (entry === undefined) {
      if (index >= this.#promised) return undefined;
      yield this.#finding(key, 'expected an entry, found none');
      if (stored === undefined) return undefined;
      this.#lost++;
      return { kind: 'lost', identity: '', hash: stored };
    }
    let problem: string | undefined;
    let made: { leaf: Uint8Array; identity: Uint8Array } | undefined;
    try {
      made = this.#options.readEntry(entry, index);
    } catch (cause) {
      problem = (cause as Error).message;
    }
    let leaf = made?.leaf ?? entry;
    const isOwnLeaf = sameBytes(leaf, entry);
    if (made !== undefined && (leafRow === undefined ? !isOwnLeaf : !sameBytes(leafRow, leaf))) {
      const isLeafTrue =
        stored !== undefined && leafRow !== undefined && sameBytes(hashLeaf(leafRow, nodeHasher), stored);
      if (isLeafTrue) {
        problem = 'expected the entry whose leaf was logged, got another';
        leaf = leafRow;
      } else yield this.#finding(rowKey.leaf(index), 'expected the leaf of the entry, got another or none');
    } else if (leafRow !== undefined && isOwnLeaf && made !== undefined) {
      yield this.#finding(rowKey.leaf(index), 'expected no such row: the entry is the leaf');
    }
    const identity = hex(made?.identity ?? nodeHasher.sha256(entry));
    return { kind: 'read', identity, hash: hashLeaf(leaf, nodeHasher), problem };
  }

  async *#upperTile(tile: ChangedTile): AsyncGenerator<Finding> {
    const { level, index, hashes } = tile;
    if (level === 0) return;
    this.#levels.add(level);
    if (hashes.length < TILE_WIDTH * HASH_BYTES) {
      this.#partial.set(level, { level, index, hashes: hashes.slice() });
      return;
    }
    this.#partial.delete(level);
    yield* this.#compareTile(tile);
  }

  async *#compareTile({ level, index, hashes }: ChangedTile): AsyncGenerator<Finding> {
    const key = rowKey.tile(level, index);
    const stored = yield* this.#expect(tilePrefix(level), key);
    if (stored === undefined) yield this.#finding(key, 'expected this tile, found none');
    else if (!sameBytes(stored, hashes))
      yield this.#finding(key, 'expected the hashes of the tiles below, got others');
  }

  /** Those up to the size of the tree now. */
  async *#checkpoints(tree: GrowingTree): AsyncGenerator<Finding> {
    const cursor = this.#cursor('checkpoint/');
    for (
      let next = await cursor.peek();
      next !== undefined && sizeOf(next[0]) <= tree.size;
      next = await cursor.peek()
    ) {
      yield* this.#checkpoint(tree, next[0]);
    }
  }

  /** A checkpoint of the tree as it is now, or one that belongs to no size of the tree. */
  async *#checkpoint(tree: GrowingTree, key: string): AsyncGenerator<Finding> {
    const row = yield* this.#expect('checkpoint/', key);
    if (row === undefined) return yield this.#finding(key, 'expected a checkpoint of this size, found none');
    const problem = this.#problemOf(text.decode(row), tree);
    if (problem !== undefined || key !== rowKey.checkpoint(tree.size)) {
      yield this.#finding(key, problem ?? 'expected no such row');
    }
  }

  #problemOf(note: string, tree: GrowingTree): string | undefined {
    try {
      const { origin, size, rootHash } = parseCheckpoint(parseNote(note).text);
      if (origin !== this.#options.origin) return `expected origin ${this.#options.origin}`;
      if (size !== tree.size) return `expected size ${tree.size}, got ${size}`;
      const timeMs = this.#options.verifyNote(note) ?? this.#lastTimeMs;
      if (!sameBytes(rootHash, tree.root())) return 'expected the root of the entries, got another';
      if (timeMs < this.#lastTimeMs) return `expected a time from ${this.#lastTimeMs} on, got ${timeMs}`;
      this.#lastTimeMs = timeMs;
      return undefined;
    } catch (cause) {
      return (cause as Error).message;
    }
  }

  /** What is left when the entries are over. */
  async *#edge(size: bigint): AsyncGenerator<Finding> {
    for (const tile of this.#partial.values()) yield* this.#compareTile(tile);
    const last = await this.#options.rows.get(rowKey.checkpoint(size));
    if (last === undefined) {
      yield this.#finding(
        rowKey.checkpoint(size),
        'expected a checkpoint that covers every entry, found none',
      );
    }
    for (const prefix of ['entry/', 'leaf/', 'checkpoint/', ...[...this.#levels].map(tilePrefix)]) {
      for (
        let row = await this.#cursor(prefix).next();
        row !== undefined;
        row = await this.#cursor(prefix).next()
      ) {
        yield this.#finding(row[0], 'expected no such row: it is past the last entry');
      }
    }
  }

  /** Each entry has its identity; are there more? */
  async *#identities(size: bigint): AsyncGenerator<Finding> {
    const { rows, readEntry, progress } = this.#options;
    let count = 0n;
    const keys = rows.keys({ gte: 'identity/', lt: 'identity0' });
    for (let part = await keys.nextv(4096); part.length > 0; part = await keys.nextv(4096)) {
      count += BigInt(part.length);
      progress(size);
    }
    await keys.close();
    if (count <= size - this.#lost) return;
    for await (const [key, value] of rows.iterator({ gte: 'identity/', lt: 'identity0' })) {
      const index = value.length === 8 ? Buffer.from(value).readBigUInt64BE() : size;
      const entry = index < size ? await rows.get(rowKey.entry(index)) : undefined;
      if (entry !== undefined && isIdentityOf(entry, index, key, readEntry)) continue;
      if (index < size && entry === undefined) continue;
      yield this.#finding(key, 'expected no such row: no entry has this identity');
    }
  }

  async *#single(): AsyncGenerator<Finding> {
    const { rows, verifyNote } = this.#options;
    const clock = await rows.get(rowKey.clock);
    const timeMs = clock?.length === 8 ? Number(Buffer.from(clock).readBigUInt64BE()) : -1;
    // A note of a certificate log says its time too.
    if (timeMs < 0 || (this.#lastTimeMs > 0 && timeMs !== this.#lastTimeMs)) {
      yield this.#finding(rowKey.clock, 'expected the time of the last checkpoint, got another or none');
    }
    try {
      const unsigned = await rows.get(rowKey.unsigned);
      if (unsigned !== undefined) parseUnsigned(unsigned);
    } catch (cause) {
      yield this.#finding(rowKey.unsigned, (cause as Error).message);
    }
    const cosigned = await rows.get(rowKey.cosigned);
    if (cosigned === undefined) return;
    try {
      const note = text.decode(cosigned);
      verifyNote(note);
      const { size } = parseCheckpoint(parseNote(note).text);
      const own = await rows.get(rowKey.checkpoint(size));
      if (own !== undefined && parseNote(text.decode(own)).text === parseNote(note).text) return;
      yield this.#finding(rowKey.cosigned, 'expected a checkpoint of this log with more lines, got another');
    } catch (cause) {
      yield this.#finding(rowKey.cosigned, (cause as Error).message);
    }
  }

  /** Keys of no kind. */
  async *#unknownRows(): AsyncGenerator<Finding> {
    const after = (prefix: string) => `${prefix.slice(0, -1)}0`;
    const kinds = ['checkpoint/', 'entry/', 'identity/', 'leaf/', ...[...this.#levels].map(tilePrefix)];
    const known = [
      ...kinds.map((prefix) => [prefix, after(prefix)] as const),
      ...[rowKey.clock, rowKey.cosigned, rowKey.unsigned].map((key) => [key, `${key}\u0000`] as const),
    ].sort(([a], [b]) => (a < b ? -1 : 1));
    let from = '';
    for (const [begin, end] of [...known, ['\u{10ffff}', ''] as const]) {
      for (const key of await this.#options.rows.keys({ gte: from, lt: begin, limit: 1000 }).all()) {
        yield this.#finding(key, 'expected no such row');
      }
      from = end;
    }
  }
}

type EntryRead =
  | {
      readonly kind: 'read';
      readonly identity: string;
      readonly hash: Uint8Array;
      readonly problem: string | undefined;
    }
  | { readonly kind: 'lost'; readonly identity: string; readonly hash: Uint8Array };

const tilePrefix = (level: number): string => rowKey.tile(level, 0n).slice(0, 'tile/00/'.length);

function sizeOf(key: string): bigint {
  const digits = key.slice('checkpoint/'.length);
  return /^[0-9a-f]{1,16}$/.test(digits) ? BigInt(`0x${digits}`) : 0n;
}

function isIdentityOf(
  entry: Uint8Array,
  index: bigint,
  key: string,
  readEntry: LogCheckOptions['readEntry'],
): boolean {
  try {
    return rowKey.identity(hex(readEntry(entry, index).identity)) === key;
  } catch {
    // The entry was found to be bad already; what its identity was is not known.
    return true;
  }
}

function bigEndian(n: bigint): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(n);
  return out;
}
