// SPDX-License-Identifier: Apache-2.0
// Every write to one LevelDB, tables and logs alike [docs/spec/registry-api.md §Storage]. A write that failed half-way (a full disk)
// leaves a torn record; LevelDB goes on behind it, and when it is opened again reads no further than to it. What was acknowledged in
// between would be gone, and a log would fork. So one batch is written at a time, and after a failure none until it is opened again.

import { STORE } from '../store-faults.ts';

/** A row in a sublevel of the database. */
export interface PutRow {
  readonly type: 'put';
  readonly sublevel: object;
  readonly key: string;
  readonly value: Uint8Array;
}

/** A row that goes. */
export interface DelRow {
  readonly type: 'del';
  readonly sublevel: object;
  readonly key: string;
}

interface Waiting {
  readonly rows: readonly PutRow[];
  readonly resolve: () => void;
  readonly reject: (failure: unknown) => void;
}

/** What is needed of a LevelDB database; its types fix the encodings of sublevels, which play no part here. */
interface Root {
  batch(rows: readonly (PutRow | DelRow)[], options: { readonly sync: true }): Promise<void>;
}

const writers = new WeakMap<object, SyncedWrites>();

export class SyncedWrites {
  readonly #root: Root;
  #waiting: Waiting[] = [];
  #along: (PutRow | DelRow)[] = [];
  #isWriting = false;
  #failure: unknown;

  private constructor(root: Root) {
    this.#root = root;
  }

  /** The one writer of an open LevelDB database (not of a sublevel). */
  static of(root: object): SyncedWrites {
    const known = writers.get(root) ?? new SyncedWrites(root as Root);
    writers.set(root, known);
    return known;
  }

  /** @throws REGISTRY_STORE_STOPPED if a write failed since the database was opened */
  check(): void {
    if (this.#failure === undefined) return;
    throw STORE.unavailable('REGISTRY_STORE_STOPPED', 'expected a database without failed writes, got one', {
      cause: this.#failure,
    });
  }

  /** Writes all rows or none; durable when it resolves. @throws REGISTRY_STORE_STOPPED, and what LevelDB throws */
  async write(rows: readonly PutRow[]): Promise<void> {
    this.check();
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ rows, resolve, reject });
      if (!this.#isWriting) void this.#writeWaiting();
    });
  }

  /** Leaves rows to the next write, whoever makes it: they are durable no later than what is given to `write` from now on. */
  leaveToNext(rows: readonly (PutRow | DelRow)[]): void {
    this.#along.push(...rows);
  }

  /** Whoever comes while a batch is written waits for the next one, and shares it. */
  async #writeWaiting(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0);
      try {
        this.check();
        await this.#root.batch([...this.#along.splice(0), ...together.flatMap(({ rows }) => rows)], {
          sync: true,
        });
        for (const { resolve } of together) resolve();
      } catch (failure) {
        this.#failure ??= failure;
        for (const { reject } of together) reject(failure);
      }
    }
    this.#isWriting = false;
  }
}
