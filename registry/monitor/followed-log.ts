// SPDX-License-Identifier: Apache-2.0
// One log as the monitor has seen it [docs/spec/monitor.md §Following]: the last checkpoint that it verified, and the hashes of every entry up to
// it, so that each later checkpoint can be held against it, and a contradiction shown to others.

import { hexEncode } from '../../core/encoding/hex.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import { emptyRoot, sameBytes } from '../../core/tlog/merkle.ts';
import { parseNote } from '../../core/tlog/note.ts';
import { FULL_WIDTH } from '../../core/tlog/tile-path.ts';
import { GrowingTree } from '../log/growing-tree.ts';
import { HASH_BYTES, nodeHasher } from '../log/hash-tiles.ts';
import { MONITOR } from '../monitor-faults.ts';
import { type ForkProof, type Head, prefixParts, prefixRoots } from './fork-proof.ts';
import { type LogReader, unreadable } from './log-reader.ts';
import { jsonRow, type MonitorStore, type StateRow, wide } from './monitor-store.ts';

/**
 * Bundles of usual size that are read, and written down, at once; as many are fetched meanwhile. A larger one is fetched, read and written down alone. So whatever
 * a log serves, some 64 MB are held at once at most, copies that are on their way into the state among them.
 */
const BUNDLES_AT_ONCE = 8;
/** Whoever has the log's key can sign a size that nobody reads to its end: nothing else would be asked meanwhile, and nobody be told. */
const READ_MS = 300_000;
const WIDTH = BigInt(FULL_WIDTH);

/** Which of the two logs. */
export type LogName = 'signatures' | 'certificates';

/** What was written down last. */
interface Cursor {
  /** The note of the last verified checkpoint; undefined before the first. */
  readonly note?: string;
  /** Leaves whose hashes are written down, in decimal: those of `note`, and more while the entries up to a later one are read. */
  readonly read: string;
}

/** An entry of a bundle: its leaf hash, and what the monitor wants of it. */
export interface ReadEntry<T> {
  readonly leafHash: Uint8Array;
  readonly entry: T;
}

/** How entries of a log are read. */
export interface EntryReader<T> {
  /** The entries of a bundle; undefined if it is none. */
  parse(bundle: Uint8Array): readonly ReadEntry<T>[] | undefined;
  /** What to write down of an entry, in the same batch as the cursor. */
  rows(entry: T, index: bigint, leafHash: Uint8Array): readonly StateRow[];
}

/** How entries are read up to a checkpoint. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly progress: (read: bigint, of: bigint) => void;
  /** How long to read before the rest is left to the next time; five minutes by default. */
  readonly readMs?: number;
}

/** How a served checkpoint stands to the last verified one. */
export type Succession =
  | { readonly kind: 'same' | 'grown' }
  /** Smaller, and a beginning of what was seen: an older checkpoint. */
  | { readonly kind: 'shrunk'; readonly last: Head }
  | { readonly kind: 'forked'; readonly last: Head; readonly proof: ForkProof };

export class FollowedLog {
  readonly name: LogName;
  readonly #store: MonitorStore;
  readonly #prefix: string;
  readonly #pending: string;
  #tree: GrowingTree;
  /** The last verified checkpoint. */
  last: Head;

  private constructor(name: LogName, store: MonitorStore, prefix: string, tree: GrowingTree, last: Head) {
    this.name = name;
    this.#store = store;
    this.#prefix = prefix;
    this.#pending = `pending/${prefix.slice('log/'.length)}`;
    this.#tree = tree;
    this.last = last;
  }

  /** Takes up a log of this origin where it was left, or at its beginning. @throws MONITOR_STATE_DAMAGED */
  static async open(store: MonitorStore, name: LogName, origin: string): Promise<FollowedLog> {
    const prefix = `log/${name}/${hexEncode(nodeHasher.sha256(utf8(origin)))}/`;
    const { note, read } = (await store.json<Cursor>(`${prefix}cursor`)) ?? { read: '0' };
    try {
      const last =
        note === undefined
          ? { origin, size: 0n, rootHash: emptyRoot(nodeHasher), note: '' }
          : { ...parseCheckpoint(parseNote(note).text), note };
      const log = new FollowedLog(name, store, prefix, await openTree(store, prefix, BigInt(read)), last);
      // What is written down must be what was verified: else every later checkpoint would look like a fork.
      if (!sameBytes(await log.rootAt(last.size), last.rootHash)) throw new Error('another root');
      return log;
    } catch (cause) {
      throw MONITOR.reject('MONITOR_STATE_DAMAGED', `the hashes of ${name} do not give the checkpoint`, {
        cause,
      });
    }
  }

  /** Entries whose hashes are written down. */
  get readSize(): bigint {
    return this.#tree.size;
  }

  /** The root of the first `size` leaves that were read. */
  async rootAt(size: bigint): Promise<Uint8Array> {
    return (await openTree(this.#store, this.#prefix, size)).root();
  }

  /** Where a sighting at an index waits to be explained. */
  pendingKey(index: bigint): string {
    return `${this.#pending}${wide(index)}`;
  }

  /**
   * Goes on to a checkpoint whose signature was verified, reading every entry up to it. What was read is written down as it goes: a process that
   * is killed goes on where it was.
   * @throws MONITOR_LOG_UNREACHABLE, MONITOR_LOG_UNREADABLE, REGISTRY_STORE_FAILED, the signal's reason
   */
  async advance<T>(
    head: Head,
    reader: LogReader,
    entries: EntryReader<T>,
    options: ReadOptions,
  ): Promise<Succession> {
    const { last } = this;
    if (head.size === 0n && !sameBytes(head.rootHash, emptyRoot(nodeHasher))) {
      throw unreadable('expected the root of the empty tree for size 0, got another');
    }
    if (head.size < last.size) return this.#compareSmaller(head);
    if (head.size === last.size) {
      if (!sameBytes(head.rootHash, last.rootHash)) return forked(last, head, [], last);
      return { kind: 'same' };
    }
    if (last.size > 0n) {
      const sizes = { oldSize: last.size, newSize: head.size };
      const hashes = await reader.hashes(prefixParts(last.size, head.size), head.size, options.signal);
      const roots = prefixRoots(sizes, hashes, nodeHasher);
      if (roots === undefined || !sameBytes(roots.newer, head.rootHash)) {
        throw unreadable(`expected tiles that lead to the root of size ${head.size}, got others`);
      }
      if (!sameBytes(roots.older, last.rootHash)) return forked(last, head, hashes, last);
    }
    // Read ahead under a checkpoint that is served no more.
    if (this.#tree.size > head.size) await this.#readAgain();
    await this.#readUpTo(head, reader, entries, options);
    this.last = head;
    return { kind: 'grown' };
  }

  async #compareSmaller(head: Head): Promise<Succession> {
    const { last } = this;
    if (sameBytes(await this.rootAt(head.size), head.rootHash)) return { kind: 'shrunk', last };
    return forked(head, last, await this.#ownHashes(head.size, last.size), last);
  }

  async #readUpTo<T>(
    head: Head,
    reader: LogReader,
    entries: EntryReader<T>,
    options: ReadOptions,
  ): Promise<void> {
    const { signal, progress, readMs = READ_MS } = options;
    const endMs = performance.now() + readMs;
    const fetchFrom = (from: bigint) => this.#fetchBundles(from, head.size, reader, signal);
    let coming = fetchFrom(this.#tree.size);
    // Whoever throws in between leaves it: its failure is nobody's then.
    coming.catch(() => undefined);
    while (this.#tree.size < head.size) {
      const from = this.#tree.size;
      const usual = await coming;
      const isLarge = usual.length === 0;
      const bundles = isLarge
        ? [await reader.bundle(from / WIDTH, widthAt(from / WIDTH, head.size), signal)]
        : usual;
      const next = (from / WIDTH + BigInt(bundles.length)) * WIDTH;
      const fetchNext = () => {
        if (next >= head.size) return;
        coming = fetchFrom(next);
        coming.catch(() => undefined);
      };
      if (!isLarge) fetchNext();
      const fresh = bundles.flatMap((bundle, i) => {
        const read = entries.parse(bundle);
        const first = (from / WIDTH + BigInt(i)) * WIDTH;
        const width = widthAt(first / WIDTH, head.size);
        if (read === undefined || read.length < width) {
          throw unreadable(`expected ${width} entries from ${first}, got ${read?.length ?? 'none'}`);
        }
        return read.slice(first < from ? Number(from - first) : 0, width);
      });
      const rows = fresh.flatMap(({ entry, leafHash }, i) => entries.rows(entry, from + BigInt(i), leafHash));
      const tiles = this.#tree.grow(fresh.map(({ leafHash }) => leafHash));
      const isWhole = this.#tree.size === head.size;
      if (isWhole && !sameBytes(this.#tree.root(), head.rootHash)) {
        await this.#readAgain();
        throw unreadable(`expected entries that lead to the root of size ${head.size}, got others`);
      }
      await this.#store.write([
        ...rows,
        // One row for each tile, whose hashes only ever become more.
        ...tiles.map(({ level, index, hashes }) => ({
          key: tileKey(this.#prefix, level, index),
          value: hashes.slice(),
        })),
        this.#cursor(isWhole ? head.note : this.last.note, this.#tree.size),
      ]);
      progress(this.#tree.size, head.size);
      signal?.throwIfAborted();
      if (!isWhole && performance.now() >= endMs) {
        throw unreadable(
          `read ${this.#tree.size} of ${head.size} entries in the time of a round; the next goes on there`,
        );
      }
      if (isLarge) fetchNext();
    }
  }

  /** The bundles from an entry on, up to the first that is large; none if that is the one with this entry. */
  async #fetchBundles(
    from: bigint,
    to: bigint,
    reader: LogReader,
    signal?: AbortSignal,
  ): Promise<readonly Uint8Array[]> {
    const first = from / WIDTH;
    const enough = new AbortController();
    const until = signal === undefined ? enough.signal : AbortSignal.any([signal, enough.signal]);
    const asked: Promise<Uint8Array | undefined>[] = [];
    for (let index = first; index < first + BigInt(BUNDLES_AT_ONCE) && index * WIDTH < to; index++) {
      asked.push(reader.usualBundle(index, widthAt(index, to), until));
    }
    // Whoever is not waited for any more fails, and it is nobody's failure.
    for (const each of asked) each.catch(() => undefined);
    const bundles: Uint8Array[] = [];
    try {
      for (const each of asked) {
        const bundle = await each;
        if (bundle === undefined) break;
        bundles.push(bundle);
      }
    } finally {
      enough.abort();
    }
    return bundles;
  }

  /** Forgets what was read past the last verified checkpoint. */
  async #readAgain(): Promise<void> {
    const { size, note } = this.last;
    const rows: StateRow[] = [this.#cursor(note, size)];
    for await (const [key] of this.#store.under<unknown>(this.#pending, wide(size)))
      rows.push({ key, value: undefined });
    await this.#store.write(rows);
    this.#tree = await openTree(this.#store, this.#prefix, size);
  }

  #cursor(note: string, read: bigint): StateRow {
    return jsonRow(`${this.#prefix}cursor`, {
      ...(note === '' ? {} : { note }),
      read: String(read),
    } satisfies Cursor);
  }

  /** What `prefixParts` names, of the tree that was read. */
  async #ownHashes(oldSize: bigint, newSize: bigint): Promise<Uint8Array[]> {
    const proof = await this.#tree.consistencyProof(oldSize, newSize);
    return prefixParts(oldSize, newSize).length === proof.length
      ? proof
      : [await this.rootAt(oldSize), ...proof];
  }
}

/** How many entries of a tree of `size` the bundle at an index has. */
function widthAt(index: bigint, size: bigint): number {
  const left = size - index * WIDTH;
  return left < WIDTH ? Number(left) : FULL_WIDTH;
}

const tileKey = (prefix: string, level: number, index: bigint) => `${prefix}tile/${level}/${wide(index)}`;

/** Hashes past the size may be there: those of a tree that was read ahead. */
function openTree(store: MonitorStore, prefix: string, size: bigint): Promise<GrowingTree> {
  return GrowingTree.open(size, async (level, index, width) => {
    const hashes = await store.bytes(tileKey(prefix, level, index));
    return hashes === undefined || hashes.length < width * HASH_BYTES
      ? undefined
      : hashes.slice(0, width * HASH_BYTES);
  });
}

function forked(older: Head, newer: Head, hashes: readonly Uint8Array[], last: Head): Succession {
  return { kind: 'forked', last, proof: { older: older.note, newer: newer.note, hashes } };
}
