// SPDX-License-Identifier: Apache-2.0
// An append-only log of tiles [C2SP-tlog-tiles-v0.1.0 §APIs] over LevelDB: one synced batch holds entries, their
// identities, the tiles they change and the checkpoint that covers them, so the log can neither forget what it
// acknowledged nor publish two trees of one size.

import { quote, Unavailable } from '../../core/faults.ts';
import { LIMITS } from '../../core/limits.ts';
import { formatCheckpoint } from '../../core/tlog/checkpoint.ts';
import { formatEntryBundle } from '../../core/tlog/entry-bundle.ts';
import { checkInclusion, emptyRoot, hashLeaf, sameBytes } from '../../core/tlog/merkle.ts';
import { LOG } from '../log-faults.ts';
import { GroupCommit } from './group-commit.ts';
import { GrowingTree, MissingTile } from './growing-tree.ts';
import { hashesAtLevel, nodeHasher, rememberingHasher, TILE_WIDTH } from './hash-tiles.ts';
import type {
  Appended,
  AppendRequest,
  CheckpointBody,
  LogEntry,
  Pending,
  Placed,
  PublishedCheckpoint,
} from './log-entry.ts';
import type { LogHead, StoredHead } from './log-head.ts';
import {
  failed,
  inconsistent,
  isClosed,
  lost,
  parseStored,
  SignerGone,
  selfCheckFailed,
} from './tile-log-failures.ts';
import {
  bigEndian,
  checkpointRows,
  isOfDatabase,
  type LogDatabase,
  type Row,
  rowKey,
  TileStore,
  unopened,
} from './tile-store.ts';
import { formatUnsigned, leavesOf, parseUnsigned, type UnsignedBatch } from './unsigned-batch.ts';

/** What a log is made of. */
export interface TileLogOptions {
  /** A LevelDB database or a sublevel; the log keeps its rows in a sublevel `tlog` of it. The caller closes it. */
  readonly db: LogDatabase;
  readonly origin: string;
  /** The signature lines that go below a checkpoint's text, each ending in a newline. */
  readonly signCheckpoint: (body: CheckpointBody) => string | Promise<string>;
  /** `entries`: bundles prefix each entry with its length [C2SP-tlog-tiles-v0.1.0 §Log entries]. `data`: as given. */
  readonly entryPath: 'entries' | 'data';
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Where the last published checkpoint is kept besides; closed with the log. Without it an older copy of `db` is not noticed. */
  readonly head?: LogHead | undefined;
  /** True if the key of checkpoints is elsewhere, and what was signed may get lost on its way: each batch is durable before. */
  readonly signsElsewhere?: boolean | undefined;
  /** True if a newer shard has a key: with entries lost this one is opened to be read, as far as that goes, and takes no entry ever. */
  readonly hasSuccessor?: boolean | undefined;
  /** Most entries that may wait for a batch (8192 by default); more are refused with LOG_BUSY. */
  readonly waitingCountMax?: number;
}

/** A batch that is whole but for the signature of its checkpoint. */
interface Unsigned extends UnsignedBatch {
  readonly placed: readonly Placed[];
  /** True if it is durable. */
  readonly isKept: boolean;
}

/** Of a batch of more, the first would wait while the last are proved, and all the server with them. */
const GROUP = { batchCount: 256, gatherMs: 50 };
/** A TileLeaf of static-ct-api holds a certificate; nothing near this size is one. */
const DATA_ENTRY_BYTES = 1024 * 1024;
const WIDTH = BigInt(TILE_WIDTH);
const writers = new WeakMap<object, Set<string>>();

export class TileLog {
  readonly origin: string;
  private readonly options: TileLogOptions;
  private readonly store: TileStore;
  private readonly tree: GrowingTree;
  private readonly group: GroupCommit<Pending>;
  private published: PublishedCheckpoint;
  private lastTimeMs: number;
  private stopped: unknown;
  /** The next checkpoint while its signer cannot be had, with the rows that it covers: it and no other is signed first. */
  private unsigned: Unsigned | undefined;
  private watcher: () => void = () => undefined;

  private constructor(
    options: TileLogOptions,
    store: TileStore,
    tree: GrowingTree,
    published: PublishedCheckpoint,
    lastTimeMs: number,
  ) {
    this.origin = options.origin;
    this.options = options;
    this.store = store;
    this.tree = tree;
    this.published = published;
    this.lastTimeMs = lastTimeMs;
    this.group = new GroupCommit((batch) => this.commit(batch), GROUP);
  }

  /**
   * Opens the log, or begins one with a checkpoint of size 0. Refuses a store whose right edge does not give the root
   * of its last checkpoint, and one that is behind what was published: with a successor it is opened all the same, and lost.
   * @throws LOG_STORE_LOCKED, LOG_STORE_UNOPENED, LOG_STORE_ORIGIN, LOG_STORE_INCONSISTENT, LOG_STORE_BEHIND, LOG_HEAD_MISSING,
   *   LOG_HEAD_MALFORMED, LOG_STORE_FAILED
   */
  static async open(options: TileLogOptions): Promise<TileLog> {
    const store = await TileStore.open(options.db);
    const { root, prefix } = store.place();
    const held = writers.get(root) ?? new Set();
    writers.set(root, held);
    if (held.has(prefix)) {
      throw LOG.unavailable(
        'LOG_STORE_LOCKED',
        'expected to be the only writer, got a second one in this process',
      );
    }
    held.add(prefix);
    try {
      return await TileLog.read(options, store);
    } catch (failure) {
      held.delete(prefix);
      await options.head?.close();
      throw isOfDatabase(failure) ? unopened(failure) : failure;
    }
  }

  private static async read(options: TileLogOptions, store: TileStore): Promise<TileLog> {
    try {
      return await TileLog.readWhole(options, store);
    } catch (failure) {
      if (options.hasSuccessor !== true) throw failure;
      const tree = await GrowingTree.open(0n, async () => undefined);
      const log = new TileLog(options, store, tree, { size: 0n, rootHash: tree.root(), note: '' }, 0);
      log.stopped = lost(failure);
      return log;
    }
  }

  /** @throws what `open` throws; with a successor, what leaves nothing that is fit to be read */
  private static async readWhole(options: TileLogOptions, store: TileStore): Promise<TileLog> {
    const note = await store.lastCheckpoint();
    const { origin, size, rootHash } =
      note === undefined
        ? { origin: options.origin, size: 0n, rootHash: emptyRoot(nodeHasher) }
        : parseStored(note);
    if (origin !== options.origin) {
      throw LOG.reject(
        'LOG_STORE_ORIGIN',
        `expected a store of ${quote(options.origin)}, got one of ${quote(origin)}`,
      );
    }
    let loss: unknown;
    const stored: StoredHead = { origin, note, size, noteOf: (of) => store.checkpoint(of) };
    await options.head?.check(stored).catch((failure: unknown) => {
      if (options.hasSuccessor !== true || note === undefined) throw failure;
      loss = lost(failure);
    });
    const tree = await GrowingTree.open(size, (level, index, width) => store.tile(level, index, width)).catch(
      (cause: unknown) => {
        throw cause instanceof MissingTile ? inconsistent(size, cause.message) : cause;
      },
    );
    const log = new TileLog(
      options,
      store,
      tree,
      { size, rootHash, note: note ?? '' },
      await store.clockMs(),
    );
    await log.checkEdge();
    if (note === undefined) await log.begin();
    log.stopped = loss;
    if (loss !== undefined) return log;
    await options.head?.write(log.published.note).catch((cause: unknown) => {
      throw failed(cause);
    });
    await log.takeUpUnsigned();
    return log;
  }

  /** The batch whose checkpoint may have been signed when the log ended: no other is signed before it. */
  private async takeUpUnsigned(): Promise<void> {
    const bytes = await this.store.unsigned();
    if (bytes === undefined) return;
    const kept = parseUnsigned(bytes);
    const { body } = kept;
    if (body.size <= this.published.size) return;
    this.tree.grow(leavesOf(kept, this.published.size).map((leaf) => hashLeaf(leaf, nodeHasher)));
    if (body.origin !== this.origin || !sameBytes(this.tree.root(), body.rootHash)) {
      throw inconsistent(body.size, 'another batch that waits for its signature');
    }
    this.lastTimeMs = Math.max(this.lastTimeMs, body.timeMs);
    this.unsigned = { ...kept, placed: [], isKept: true };
  }

  /** Checks the right edge against the last checkpoint and the last entries: a store restored in part shows here. */
  private async checkEdge(): Promise<void> {
    const { size, rootHash } = this.published;
    if (!sameBytes(this.tree.root(), rootHash)) throw inconsistent(size, 'tiles with another root');
    if (await this.store.hasEntryFrom(size)) throw inconsistent(size, 'entries past it');
    for (let index = size === 0n ? 0n : ((size - 1n) / WIDTH) * WIDTH; index < size; index++) {
      const leaf = await this.leafBytes(index);
      const hash = await this.tree.leafHash(index);
      if (leaf === undefined || !sameBytes(hashLeaf(leaf, nodeHasher), hash)) {
        throw inconsistent(size, `another entry or none at index ${index}`);
      }
    }
  }

  private async begin(): Promise<void> {
    const body = this.nextCheckpoint(0n, this.published.rootHash);
    const first = await this.signed(body);
    await this.store.commit(checkpointRows(body, first)).catch((cause: unknown) => {
      throw failed(cause);
    });
    this.published = first;
  }

  /** False for a log with a successor that is too damaged to be read. */
  get isReadable(): boolean {
    return this.published.note !== '';
  }

  /** @throws LOG_SHARD_LOST */
  checkReadable(): void {
    if (!this.isReadable) throw this.stopped;
  }

  /** The last published checkpoint. @throws LOG_SHARD_LOST, as all that reads */
  checkpoint(): PublishedCheckpoint {
    this.checkReadable();
    return this.published;
  }

  /** The note published for a size; undefined if none was. */
  async checkpointNote(size: bigint): Promise<string | undefined> {
    this.checkReadable();
    return size === this.published.size ? this.published.note : this.store.checkpoint(size);
  }

  /** When the last checkpoint was signed, milliseconds since 1970. */
  get checkpointTimeMs(): number {
    return this.lastTimeMs;
  }

  /** How many requests wait for a batch. */
  get waitingCount(): number {
    return this.group.count;
  }

  /** Calls back after each batch with the number of its requests and how long it took. */
  observeBatches(observe: (count: number, durationMs: number) => void): void {
    this.group.observe = observe;
  }

  /** Takes no more entries, since others saw what is not here; only if a newer shard does. @throws the failure if there is none */
  lose(failure: unknown): void {
    if (this.options.hasSuccessor !== true) throw failure;
    this.stopped = lost(failure);
  }

  /** @throws LOG_CLOSED, LOG_STORE_FAILED, LOG_SELF_CHECK, LOG_SHARD_LOST: why the log takes no entries until it is opened again */
  checkAccepting(): void {
    if (this.stopped !== undefined) throw this.stopped;
  }

  /** Calls back after each new, durable checkpoint. */
  watch(watcher: () => void): void {
    this.watcher = watcher;
  }

  /** The note that `keepCosignedNote` kept last. */
  cosignedNote(): Promise<string | undefined> {
    return this.store.cosigned();
  }

  /** Keeps a checkpoint with the lines of witnesses for the next start. @throws what the database throws */
  keepCosignedNote(note: string): Promise<void> {
    return this.store.commit([{ key: rowKey.cosigned, value: new TextEncoder().encode(note) }]);
  }

  /**
   * Appends an entry, or finds the one with the same identity. Resolves when the entry and a checkpoint that covers it
   * are durable and the proof between them was checked.
   * @throws LOG_BUSY, LOG_CLOSED, LOG_ENTRY_SIZE, LOG_STORE_FAILED, LOG_SELF_CHECK, and whatever `make` throws
   */
  append(request: AppendRequest): Promise<Appended> {
    if (this.stopped !== undefined) return Promise.reject(this.stopped);
    if (this.group.count >= (this.options.waitingCountMax ?? 8192)) {
      return Promise.reject(LOG.unavailable('LOG_BUSY', `${this.group.count} entries wait already`));
    }
    const identity = Buffer.from(request.identity).toString('hex');
    return new Promise((resolve, reject) => this.group.push({ request, identity, resolve, reject }));
  }

  /** True if there is an entry with this identity. */
  has(identity: Uint8Array): boolean {
    return this.store.has(Buffer.from(identity).toString('hex'));
  }

  /** Finishes what waits and takes no more. The database stays open: it is the caller's. */
  async close(): Promise<void> {
    this.stopped ??= LOG.unavailable('LOG_CLOSED', 'the log takes no more entries');
    await this.group.drain();
    await this.options.head?.close();
    const { root, prefix } = this.store.place();
    writers.get(root)?.delete(prefix);
  }

  /** The first `width` hashes of a tile; undefined if the published tree has fewer there. */
  async tile(level: number, index: bigint, width = TILE_WIDTH): Promise<Uint8Array | undefined> {
    this.checkReadable();
    const isPublished = index * WIDTH + BigInt(width) <= hashesAtLevel(this.published.size, level);
    return isPublished ? this.store.tile(level, index, width) : undefined;
  }

  /** The first `width` entries of a bundle, as served; undefined if the published tree has fewer there. */
  async entryBundle(index: bigint, width = TILE_WIDTH): Promise<Uint8Array | undefined> {
    this.checkReadable();
    const from = index * WIDTH;
    const to = from + BigInt(width);
    if (to > this.published.size) return undefined;
    const entries = await this.store.entries(from, to);
    if (this.options.entryPath === 'data') return Buffer.concat(entries);
    return formatEntryBundle(entries);
  }

  /** The leaf at an index; undefined if the published tree has none there. */
  async leafBytes(index: bigint): Promise<Uint8Array | undefined> {
    this.checkReadable();
    return index < 0n || index >= this.published.size ? undefined : this.store.leaf(index);
  }

  /** Inclusion proof of a leaf in the tree of `size` leaves. @throws TLOG_INDEX_OUTSIDE_TREE, LOG_SELF_CHECK */
  async inclusionProof(index: bigint, size: bigint = this.published.size): Promise<Uint8Array[]> {
    this.checkPublished(size);
    return this.tree.inclusionProof(index, size).catch(selfCheckFailed);
  }

  /** Consistency proof between two sizes. @throws TLOG_CONSISTENCY_SIZES, LOG_SELF_CHECK */
  async consistencyProof(oldSize: bigint, newSize: bigint = this.published.size): Promise<Uint8Array[]> {
    this.checkPublished(newSize);
    return this.tree.consistencyProof(oldSize, newSize).catch(selfCheckFailed);
  }

  private checkPublished(size: bigint): void {
    this.checkReadable();
    if (size > this.published.size) {
      throw LOG.reject(
        'LOG_SIZE_UNPUBLISHED',
        `expected a tree size up to ${this.published.size}, got ${size}`,
      );
    }
  }

  private async commit(batch: readonly Pending[]): Promise<void> {
    if (this.stopped !== undefined && !isClosed(this.stopped)) {
      for (const pending of batch) pending.reject(this.stopped);
      return;
    }
    try {
      await this.publishUnsigned();
      const rows: Row[] = [];
      const placed = await this.place(batch, rows);
      const { size } = this.tree;
      if (size > this.published.size) {
        const body = this.nextCheckpoint(size, this.tree.root());
        this.unsigned = { body, rows, placed, isKept: false };
      }
      const appended = (await this.publishUnsigned()) ?? (await this.prove(placed, this.published));
      placed.forEach(({ pending }, i) => {
        pending.resolve(appended[i] as Appended);
      });
    } catch (cause) {
      if (cause instanceof SignerGone) {
        // Nothing was written and nothing forgotten: the next batch begins with what this one left.
        for (const pending of batch) pending.reject(cause.reason);
        return;
      }
      // The tree in memory is ahead of the store now, and a failed write may or may not show when the store is opened
      // again. Going on could sign a second tree of the same size: the log stops.
      this.stopped = cause instanceof Unavailable ? cause : failed(cause);
      for (const pending of batch) pending.reject(this.stopped);
    }
  }

  /** Gives each request its index and its rows; one that cannot be an entry is rejected alone. */
  private async place(batch: readonly Pending[], rows: Row[]): Promise<Placed[]> {
    const known = await this.store.indexes(batch.map(({ identity }) => identity));
    const fresh = new Map<string, Placed>();
    const placed: Placed[] = [];
    for (const [i, pending] of batch.entries()) {
      const twin = fresh.get(pending.identity);
      const first = known[i];
      if (twin !== undefined) {
        placed.push({ ...twin, pending, duplicate: true });
      } else if (first !== undefined) {
        placed.push({ pending, index: first, duplicate: true, leafHash: await this.storedLeafHash(first) });
      } else {
        const index = this.published.size + BigInt(fresh.size);
        const made = this.make(pending, index);
        if (made === undefined) continue;
        this.lastTimeMs = Math.max(this.lastTimeMs, pending.request.timeMs ?? 0);
        rows.push({ key: rowKey.entry(index), value: made.entry });
        if (!sameBytes(made.leaf, made.entry)) rows.push({ key: rowKey.leaf(index), value: made.leaf });
        rows.push({ key: rowKey.identity(pending.identity), value: bigEndian(index) });
        const place = { pending, index, duplicate: false, leafHash: hashLeaf(made.leaf, nodeHasher) };
        fresh.set(pending.identity, place);
        placed.push(place);
      }
    }
    for (const { level, index, hashes } of this.tree.grow([...fresh.values()].map((each) => each.leafHash))) {
      rows.push({ key: rowKey.tile(level, index), value: hashes });
    }
    return placed;
  }

  /** Makes the entry for its index, or rejects the request and returns undefined. */
  private make(pending: Pending, index: bigint): LogEntry | undefined {
    try {
      const made = 'make' in pending.request ? pending.request.make(index) : pending.request;
      const most = this.options.entryPath === 'entries' ? LIMITS.logEntrySizeBytes : DATA_ENTRY_BYTES;
      if (made.entry.length > 0 && made.entry.length <= most) return made;
      throw LOG.reject('LOG_ENTRY_SIZE', `expected 1 to ${most} bytes, got ${made.entry.length}`);
    } catch (failure) {
      pending.reject(failure);
      return undefined;
    }
  }

  private async storedLeafHash(index: bigint): Promise<Uint8Array> {
    const leaf = await this.leafBytes(index);
    if (leaf === undefined) return selfCheckFailed(new Error(`no entry at index ${index}`));
    return hashLeaf(leaf, nodeHasher);
  }

  private nextCheckpoint(size: bigint, rootHash: Uint8Array): CheckpointBody {
    this.lastTimeMs = Math.max(this.lastTimeMs, Math.floor(this.options.clock()));
    const text = formatCheckpoint({ origin: this.origin, size, rootHash, extensions: [] });
    return { origin: this.origin, size, rootHash, timeMs: this.lastTimeMs, text };
  }

  private async signed(body: CheckpointBody): Promise<PublishedCheckpoint> {
    const { size, rootHash, text } = body;
    return { size, rootHash, note: `${text}\n${await this.options.signCheckpoint(body)}` };
  }

  /**
   * Signs the checkpoint that waits for it, if one does, proves its entries and makes all of it durable. A signature that got lost on
   * its way was over this very checkpoint: no second one of its size is ever signed.
   * @throws SignerGone
   */
  private async publishUnsigned(): Promise<readonly Appended[] | undefined> {
    if (this.unsigned === undefined) return undefined;
    const { body, rows, placed, isKept } = this.unsigned;
    if (this.options.signsElsewhere === true && !isKept) {
      await this.store.commit([{ key: rowKey.unsigned, value: formatUnsigned(this.unsigned) }]);
      this.unsigned = { ...this.unsigned, isKept: true };
    }
    const next = await this.signed(body).catch((cause: unknown) => {
      throw cause instanceof Unavailable ? new SignerGone(cause) : cause;
    });
    const appended = await this.prove(placed, next);
    await this.store.commit([...rows, ...checkpointRows(body, next)]);
    this.unsigned = undefined;
    // Durable here first, then known as published elsewhere, then visible: the head is never ahead of the store, and
    // nobody has seen what is ahead of the head.
    await this.options.head?.write(next.note);
    this.published = next;
    this.watcher();
    return appended;
  }

  /** Proves entries against the checkpoint about to be published, and checks the proofs. */
  private prove(placed: readonly Placed[], checkpoint: PublishedCheckpoint): Promise<readonly Appended[]> {
    const { size, rootHash: root } = checkpoint;
    const hasher = rememberingHasher();
    const proveOne = async ({ index, duplicate, leafHash }: Placed): Promise<Appended> => {
      const proof = await this.tree.inclusionProof(index, size, hasher);
      checkInclusion({ index, size, leafHash, proof, root }, hasher);
      return { index, duplicate, checkpoint, proof };
    };
    return Promise.all(placed.map(proveOne)).catch(selfCheckFailed);
  }
}
