// SPDX-License-Identifier: Apache-2.0
// Walks the rows of one kind in order, a few at a time, for checks that read a whole log [docs/spec/fsck.md].

import type { LogRows } from './tile-store.ts';

const READ_AHEAD = 512;
export type KeyedRow = readonly [key: string, value: Uint8Array];

export class RowCursor {
  readonly #iterator: { nextv(count: number): Promise<KeyedRow[]>; close(): Promise<void> };
  #read: KeyedRow[] = [];
  #at = 0;

  /** Over the keys that begin with `prefix`. */
  constructor(rows: LogRows, prefix: string) {
    const end = prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
    this.#iterator = rows.iterator({ gte: prefix, lt: end });
  }

  /** The next row, which stays the next one. */
  async peek(): Promise<KeyedRow | undefined> {
    if (this.#at === this.#read.length) {
      this.#read = await this.#iterator.nextv(READ_AHEAD);
      this.#at = 0;
    }
    return this.#read[this.#at];
  }

  async next(): Promise<KeyedRow | undefined> {
    const row = await this.peek();
    if (row !== undefined) this.#at++;
    return row;
  }

  close(): Promise<void> {
    return this.#iterator.close();
  }
}
