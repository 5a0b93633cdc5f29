// SPDX-License-Identifier: Apache-2.0
// The state of a monitor in LevelDB [docs/spec/monitor.md §State folder]: one synced batch a change, so that the cursor, the tree and what was seen
// stand or fall together.

import { join } from 'node:path';
import type { Level } from 'level';
import { quote, Rejection } from '../../core/faults.ts';
import { MONITOR } from '../monitor-faults.ts';
import { storeFailure } from '../store/durable-files.ts';
import { isDamaged, isHeld, openFailure, openLevelFolder } from '../store/level-folder.ts';

/** A row to write, or to remove where the value is undefined. */
export interface StateRow {
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A row whose value is JSON. */
export function jsonRow(key: string, value: unknown): StateRow {
  return { key, value: encoder.encode(JSON.stringify(value)) };
}

/** A number in a key: of fixed width, so that keys sort as numbers do. */
export const wide = (n: bigint): string => n.toString(16).padStart(16, '0');

export class MonitorStore {
  readonly #level: Level<string, Uint8Array>;

  private constructor(level: Level<string, Uint8Array>) {
    this.#level = level;
  }

  /** Opens or makes the state below a folder; no second process has it until `close`. @throws MONITOR_STATE_LOCKED, MONITOR_STATE_DAMAGED, REGISTRY_STORE_FAILED, REGISTRY_DATA_MISSING, REGISTRY_FOLDER_MOUNTED */
  static async open(folder: string): Promise<MonitorStore> {
    const place = join(folder, 'state');
    const level = await openLevelFolder(place).catch((cause: Error) => {
      if (isHeld(cause)) {
        throw MONITOR.unavailable('MONITOR_STATE_LOCKED', `expected ${quote(folder)} to be free, got a lock`);
      }
      if (isDamaged(cause))
        throw MONITOR.reject('MONITOR_STATE_DAMAGED', `could not open ${quote(place)}`, { cause });
      // What cannot be reached now is not lost: whoever began anew would forget what was seen.
      throw cause instanceof Rejection ? cause : openFailure(place, cause);
    });
    return new MonitorStore(level);
  }

  close(): Promise<void> {
    return this.#level.close();
  }

  /** Writes all rows or none; durable when it resolves. After a failure nothing may be written: the caller ends. @throws REGISTRY_STORE_FAILED */
  async write(rows: readonly StateRow[]): Promise<void> {
    const operations = rows.map(({ key, value }) =>
      value === undefined ? ({ type: 'del', key } as const) : ({ type: 'put', key, value } as const),
    );
    await this.#level.batch(operations, { sync: true }).catch((cause: unknown) => {
      throw storeFailure('could not write the state of the monitor', cause);
    });
  }

  async bytes(key: string): Promise<Uint8Array | undefined> {
    return this.#level.get(key);
  }

  async has(key: string): Promise<boolean> {
    return (await this.#level.get(key)) !== undefined;
  }

  /** A value as it was written. @throws MONITOR_STATE_DAMAGED */
  async json<T>(key: string): Promise<T | undefined> {
    const bytes = await this.bytes(key);
    return bytes === undefined ? undefined : decode<T>(key, bytes);
  }

  /** All values below a prefix that ends in a slash, in the order of keys, from a key on. @throws MONITOR_STATE_DAMAGED */
  async *under<T>(prefix: string, from = ''): AsyncGenerator<readonly [key: string, value: T]> {
    for await (const [key, value] of this.#level.iterator({ gte: prefix + from, lt: `${prefix}\uffff` })) {
      yield [key, decode<T>(key, value)];
    }
  }
}

function decode<T>(key: string, bytes: Uint8Array): T {
  try {
    return JSON.parse(decoder.decode(bytes)) as T;
  } catch (cause) {
    throw MONITOR.reject('MONITOR_STATE_DAMAGED', `expected JSON under ${quote(key)}`, { cause });
  }
}
