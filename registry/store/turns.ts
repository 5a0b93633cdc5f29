// SPDX-License-Identifier: Apache-2.0
// One after the other: check-then-write sequences that share a name must not interleave [docs/spec/registry-api.md §Storage].

/** Runs tasks of one name in turn; different names run side by side. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  take<T>(name: string, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.#last.set(name, mine);
    const forget = () => {
      if (this.#last.get(name) === mine) this.#last.delete(name);
    };
    mine.then(forget, forget);
    return mine;
  }
}
