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

/** A tree that was signed. */
interface SignedTree {
  /** -1 before the first: there is no file, or an empty one. */
  readonly size: bigint;
  /** Hex. */
  readonly root: string;
}

/** What the file says. */
interface Found extends SignedTree {
  /** Where the largest size stands. */
  readonly slot: number;
}

interface Kept {
  readonly storage: SlotStorage;
  readonly path: string;
  /** The first line of the file's values: whose memory it is. */
  readonly owner: string;
  readonly found: Found;
}

const NONE: SignedTree = { size: -1n, root: '' };

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

/** @throws SIGNER_MEMORY_UNUSABLE, REGISTRY_STORE_FAILED */
async function readMemory({ storage, path, owner }: Omit<Kept, 'found'>): Promise<Found> {
  const found = await readSlots(storage).catch((cause: unknown) => {
    throw storeFailure(`could not read ${quote(path)}`, cause);
  });
  const unusable = (got: string) => unusableMemory({ path, owner }, got);
  if (found.kind === 'damaged') throw unusable('other bytes');
  const trees = (found.kind === 'values' ? found.values : []).map((value) => {
    if (value === undefined) return NONE;
    const text = utf8Decode(value) ?? '';
    const [, whose, size, root = ''] = /^([^\n]*)\n(0|[1-9][0-9]{0,19}) ([0-9a-f]{64})\n$/.exec(text) ?? [];
    if (size === undefined) throw unusable('other bytes');
    if (whose !== owner) throw unusable(`that of ${told(whose ?? '')}`);
    return { size: BigInt(size), root };
  });
  const [first = NONE, second = NONE] = trees;
  return first.size >= second.size ? { ...first, slot: 0 } : { ...second, slot: 1 };
}

function unusableMemory({ path, owner }: Pick<Kept, 'path' | 'owner'>, got: string): Error {
  return TRUST.reject(
    'SIGNER_MEMORY_UNUSABLE',
    `expected the size of a tree of ${told(owner)} in ${quote(path)}, got ${got}`,
    { at: path },
  );
}

export class TreeMemory {
  #largest: SignedTree;
  #kept: Kept | undefined;
  #turn: Promise<void> = Promise.resolve();

  private constructor(kept?: Kept) {
    this.#kept = kept;
    this.#largest = kept?.found ?? NONE;
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
    const file = { storage, path, owner: `${name} ${hexEncode(sha256(spki))}` };
    return new TreeMemory({ ...file, found: await readMemory(file) });
  }

  /**
   * Refuses a smaller tree than the largest, and another one of its size; resolves when this one will be remembered.
   * @param rootHash 32 bytes @throws SIGNER_DATA_REFUSED, SIGNER_MEMORY_UNUSABLE, REGISTRY_STORE_FAILED
   */
  check(size: bigint, rootHash: Uint8Array): void | Promise<void> {
    const root = hexEncode(rootHash);
    const { size: largest, root: signed } = this.#largest;
    if (size < largest || (size === largest && root !== signed)) {
      const expected = size < largest ? `a tree of at least ${largest} entries` : 'the tree that was signed';
      throw TRUST.reject('SIGNER_DATA_REFUSED', `expected ${expected}, got one of ${size} entries`);
    }
    this.#largest = { size, root };
    if (this.#kept === undefined) return;
    const kept = this.#turn.then(() => this.#keep({ size, root }));
    this.#turn = kept.catch(() => undefined);
    return kept;
  }

  async #keep({ size, root }: SignedTree): Promise<void> {
    const { found: last, ...file } = this.#kept as Kept;
    if (size <= last.size) return;
    // A second signer with this key would overwrite what the first one signed.
    const found = await readMemory(file);
    if (found.size !== last.size || found.root !== last.root) {
      throw unusableMemory(file, `a size that another process wrote, ${found.size}`);
    }
    const { storage, path, owner } = file;
    const slot = 1 - last.slot;
    const bytes = formatSlot(utf8(`${owner}\n${size} ${root}\n`));
    const written =
      last.size < 0n ? storage.create(inFile(slot, bytes)) : storage.overwrite(slot * SLOT_BYTES, bytes);
    await written.catch((cause: unknown) => {
      throw storeFailure(`could not write ${quote(path)}`, cause);
    });
    this.#kept = { ...file, found: { size, root, slot } };
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#kept?.storage.close();
  }
}
