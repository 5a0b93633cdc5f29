// SPDX-License-Identifier: Apache-2.0
// The size of the largest tree that a signer signed [docs/spec/signer.md §Purposes], in a file beside its key: durable before the
// signature is given, so that no restart makes it sign a smaller one.

import { hexEncode } from '../../core/encoding/hex.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { storeFailure } from '../store/durable-files.ts';
import { diskSlots, formatSlot, readSlots, SLOT_BYTES, type SlotStorage } from '../store/slot-file.ts';
import { sha256 } from '../trust/certificate.ts';
import { TRUST } from '../trust-faults.ts';

interface Kept {
  readonly storage: SlotStorage;
  readonly path: string;
  /** The first line of the file's values: whose memory it is. */
  readonly owner: string;
  /** Where the largest size stands. */
  readonly slot: number;
  /** -1 before the first: there is no file, or an empty one. */
  readonly size: bigint;
}

/** The bytes of a file with one slot written. */
function inFile(slot: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 * SLOT_BYTES);
  bytes.set(value, slot * SLOT_BYTES);
  return bytes;
}

/** An owner's line for people: the log and the SHA-256 of its key. */
function told(owner: string): string {
  const [name = '', key = ''] = owner.split(' ');
  return `${quote(name)} with the key of SHA-256 ${quote(key)}`;
}

export class TreeMemory {
  #largest: bigint;
  #kept: Kept | undefined;
  #turn: Promise<void> = Promise.resolve();

  private constructor(kept?: Kept) {
    this.#kept = kept;
    this.#largest = kept === undefined || kept.size < 0n ? 0n : kept.size;
  }

  /** Remembers as long as the process runs. */
  static forgetful(): TreeMemory {
    return new TreeMemory();
  }

  /**
   * Takes up what the file says. An empty one is the word of the operator that the signer may begin anew. The first signature makes it,
   * so that a signer started for the wrong log leaves nothing behind.
   * @param name the log @param spki its key @throws SIGNER_MEMORY_UNUSABLE, REGISTRY_STORE_FAILED
   */
  static async open(
    path: string,
    { name, spki }: { readonly name: string; readonly spki: Uint8Array },
    storage: SlotStorage = diskSlots(path),
  ): Promise<TreeMemory> {
    const owner = `${name} ${hexEncode(sha256(spki))}`;
    const unusable = (got: string) =>
      TRUST.reject(
        'SIGNER_MEMORY_UNUSABLE',
        `expected the size of a tree of ${told(owner)} in ${quote(path)}, got ${got}`,
        { at: path },
      );
    const found = await readSlots(storage).catch((cause: unknown) => {
      throw storeFailure(`could not read ${quote(path)}`, cause);
    });
    if (found.kind === 'damaged') throw unusable('other bytes');
    const sizes = (found.kind === 'values' ? found.values : []).map((value) => {
      if (value === undefined) return -1n;
      const [, whose, size] = /^([^\n]*)\n(0|[1-9][0-9]{0,18})\n$/.exec(utf8Decode(value) ?? '') ?? [];
      if (size === undefined) throw unusable('other bytes');
      if (whose !== owner) throw unusable(`that of ${told(whose ?? '')}`);
      return BigInt(size);
    });
    const [first = -1n, second = -1n] = sizes;
    const slot = first >= second ? 0 : 1;
    return new TreeMemory({ storage, path, owner, slot, size: slot === 0 ? first : second });
  }

  /** Refuses a smaller tree than the largest; resolves when this one will be remembered. @throws SIGNER_DATA_REFUSED, REGISTRY_STORE_FAILED */
  check(size: bigint): void | Promise<void> {
    if (size < this.#largest) {
      throw TRUST.reject(
        'SIGNER_DATA_REFUSED',
        `expected a tree of at least ${this.#largest} entries, got one of ${size}`,
      );
    }
    this.#largest = size;
    if (this.#kept === undefined) return;
    const kept = this.#turn.then(() => this.#keep(size));
    this.#turn = kept.catch(() => undefined);
    return kept;
  }

  async #keep(size: bigint): Promise<void> {
    const { storage, path, owner, ...last } = this.#kept as Kept;
    if (size <= last.size) return;
    const slot = 1 - last.slot;
    const bytes = formatSlot(utf8(`${owner}\n${size}\n`));
    const written =
      last.size < 0n ? storage.create(inFile(slot, bytes)) : storage.overwrite(slot * SLOT_BYTES, bytes);
    await written.catch((cause: unknown) => {
      throw storeFailure(`could not write ${quote(path)}`, cause);
    });
    this.#kept = { storage, path, owner, slot, size };
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#kept?.storage.close();
  }
}
