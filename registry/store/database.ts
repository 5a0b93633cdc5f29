// SPDX-License-Identifier: Apache-2.0
// LevelDB behind the registry [docs/spec/registry-api.md §Storage]. A change is one synced batch: all of it outlives a power
// cut or none of it. Keys are parts joined by a zero byte, so that no part can be the prefix of another by accident.

import type { Level } from 'level';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import { type Json, parseStrictJson } from '../../core/encoding/strict-json.ts';
import { quote, Rejection, Unavailable } from '../../core/faults.ts';
import { STORE } from '../store-faults.ts';
import { storeFailure } from './durable-files.ts';
import { isHeld, openFailure, openLevelFolder } from './level-folder.ts';
import { type DelRow, type PutRow, SyncedWrites } from './synced-writes.ts';

/** A table of the registry; docs/spec/registry-api.md §Storage says what each holds. */
export type Table =
  | 'bundle'
  | 'fact'
  | 'byLeaf'
  | 'bySubject'
  | 'byMaterial'
  | 'byDependency'
  | 'bySbom'
  | 'byInput'
  | 'byEvidence'
  | 'sbom'
  | 'byComponent'
  | 'device'
  | 'report'
  | 'byImage'
  | 'release'
  | 'token';

/** A row to be written. */
export interface Change {
  readonly table: Table;
  readonly key: readonly string[];
  readonly value: Uint8Array | Json;
}

/** A row to be removed. */
export type Removal = Pick<Change, 'table' | 'key'>;

const SEPARATOR = '\u0000';
const AFTER_SEPARATOR = '\u0001';
type Root = Level<string, Uint8Array>;

export class Database {
  readonly #level: Root;
  readonly #tables = new Map<Table, ReturnType<Database['open']>>();

  private constructor(level: Root) {
    this.#level = level;
  }

  /** Opens or makes the database. @throws REGISTRY_DATA_LOCKED, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED */
  static async open(folder: string): Promise<Database> {
    try {
      return new Database(await openLevelFolder(folder));
    } catch (cause) {
      if (cause instanceof Rejection) throw cause;
      if (isHeld(cause)) {
        throw STORE.unavailable('REGISTRY_DATA_LOCKED', `expected ${quote(folder)} to be free, got a lock`, {
          cause,
        });
      }
      throw openFailure(folder, cause);
    }
  }

  /** Closes it; what was acknowledged is on disk already. */
  async close(): Promise<void> {
    await this.#level.close();
  }

  /** The LevelDB database itself, for a log that keeps its own tables in a sublevel. */
  sublevel(name: 'log' | 'ct' | `log${number}` | `ct${number}`) {
    return this.#level.sublevel<string, Uint8Array>(name, { keyEncoding: 'utf8', valueEncoding: 'view' });
  }

  private open(table: Table) {
    return this.#level.sublevel<string, Uint8Array>(table, { keyEncoding: 'utf8', valueEncoding: 'view' });
  }

  #table(table: Table) {
    const found = this.#tables.get(table) ?? this.open(table);
    this.#tables.set(table, found);
    return found;
  }

  /** @throws REGISTRY_STORE_STOPPED if a write failed since the database was opened */
  checkWritable(): void {
    SyncedWrites.of(this.#level).check();
  }

  /** Makes all changes or none; durable when it resolves. @throws REGISTRY_STORE_FAILED, REGISTRY_STORE_STOPPED */
  async write(changes: readonly Change[]): Promise<void> {
    const rows = changes.map((change) => this.#put(change));
    try {
      await SyncedWrites.of(this.#level).write(rows);
    } catch (cause) {
      if (cause instanceof Unavailable) throw cause;
      throw storeFailure('could not write to the database', cause);
    }
  }

  /**
   * Leaves changes to the next write, whoever makes it, a log too: they cost no write of their own, and are durable no later than whatever is
   * written from now on.
   */
  leaveToNext(changes: readonly Change[], removals: readonly Removal[]): void {
    const removed = removals.map(
      ({ table, key }): DelRow => ({ type: 'del', sublevel: this.#table(table), key: joinKey(key) }),
    );
    SyncedWrites.of(this.#level).leaveToNext([...changes.map((change) => this.#put(change)), ...removed]);
  }

  #put({ table, key, value }: Change): PutRow {
    return {
      type: 'put',
      sublevel: this.#table(table),
      key: joinKey(key),
      value: value instanceof Uint8Array ? value : canonicalJsonBytes(value as Json),
    };
  }

  /** The bytes under a key, or undefined. @throws REGISTRY_STORE_FAILED */
  async bytes(table: Table, ...key: readonly string[]): Promise<Uint8Array | undefined> {
    try {
      return await this.#table(table).get(joinKey(key));
    } catch (cause) {
      throw storeFailure('could not read from the database', cause);
    }
  }

  /** The JSON value under a key as the type that was written there, or undefined. @throws REGISTRY_STORE_FAILED */
  async json<T>(table: Table, ...key: readonly string[]): Promise<T | undefined> {
    const bytes = await this.bytes(table, ...key);
    return bytes === undefined ? undefined : decode<T>(bytes);
  }

  /** True if the key is there. @throws REGISTRY_STORE_FAILED */
  async has(table: Table, ...key: readonly string[]): Promise<boolean> {
    return (await this.bytes(table, ...key)) !== undefined;
  }

  /** All rows of a table, as they are. @throws REGISTRY_STORE_FAILED */
  async *rowsOf(table: Table): AsyncGenerator<readonly [key: readonly string[], value: Uint8Array]> {
    try {
      for await (const [key, value] of this.#table(table).iterator()) yield [key.split(SEPARATOR), value];
    } catch (cause) {
      throw storeFailure('could not read from the database', cause);
    }
  }

  /** Keys that begin with these whole parts, as the parts after them, in order. @throws REGISTRY_STORE_FAILED */
  async *keysUnder(table: Table, ...parts: readonly string[]): AsyncGenerator<readonly string[]> {
    for await (const [rest] of this.entriesUnder<null>(table, ...parts)) yield rest;
  }

  /** Keys under these whole parts with their JSON values. @throws REGISTRY_STORE_FAILED */
  async *entriesUnder<T>(
    table: Table,
    ...parts: readonly string[]
  ): AsyncGenerator<readonly [readonly string[], T]> {
    const range =
      parts.length === 0 ? {} : { gt: joinKey(parts) + SEPARATOR, lt: joinKey(parts) + AFTER_SEPARATOR };
    try {
      for await (const [key, value] of this.#table(table).iterator(range)) {
        yield [key.split(SEPARATOR).slice(parts.length), decode<T>(value)];
      }
    } catch (cause) {
      throw storeFailure('could not read from the database', cause);
    }
  }
}

function joinKey(parts: readonly string[]): string {
  if (parts.some((part) => /[\u0000\u0001]/.test(part))) throw new TypeError('separator inside a key');
  return parts.join(SEPARATOR);
}

function decode<T>(bytes: Uint8Array): T {
  const parsed = parseStrictJson(bytes);
  if ('problem' in parsed) {
    throw STORE.reject('REGISTRY_DATA_DAMAGED', `database: expected JSON, got ${parsed.problem}`);
  }
  return parsed.value as T;
}
