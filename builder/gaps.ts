// SPDX-License-Identifier: Apache-2.0
// What is in an image without a component that accounts for it, for people. Bytes that lack the same thing are told together.

export class Gaps {
  readonly #texts = new Set<string>();
  readonly #sizes = new Map<string, number>();

  add(text: string): void {
    this.#texts.add(text);
  }

  /** `what` follows the words "N bytes of"; no bytes are no gap. */
  addBytes(sizeBytes: number, what: string): void {
    if (sizeBytes > 0) this.#sizes.set(what, (this.#sizes.get(what) ?? 0) + sizeBytes);
  }

  /** Sorted. */
  list(): string[] {
    return [...this.#texts, ...[...this.#sizes].map(([what, size]) => `${size} bytes of ${what}`)].sort();
  }
}
