// SPDX-License-Identifier: Apache-2.0
// A small value that is replaced often, durably, in a file of fixed size [docs/spec/log.md §Published heads]: two slots, written in turn, so
// that a write cut off half-way spoils the older value alone. One synced write of one block a change; no rename, no folder to sync.

import { createHash } from 'node:crypto';
import { constants, readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { diskFiles } from './durable-files.ts';

/** No block of a disk holds parts of both. */
export const SLOT_BYTES = 4096;
const DIGEST_BYTES = 32;
const LENGTH_BYTES = 4;
/** Largest value. */
export const SLOT_VALUE_BYTES_MAX = SLOT_BYTES - DIGEST_BYTES - LENGTH_BYTES;

/** The file operations behind the slots, so that a test can fail them. */
export interface SlotStorage {
  /** All bytes; undefined if there is no such file. */
  read(): Promise<Uint8Array | undefined>;
  /** Makes the file, or replaces it whole; durable when it resolves. */
  create(bytes: Uint8Array): Promise<void>;
  /** Overwrites bytes in place; durable when it resolves. */
  overwrite(offset: number, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** A write that returns when its bytes are on the disk, where the system knows such; elsewhere it takes a second call. */
const SYNCED = constants.O_DSYNC as number | undefined;

/** A file of the file system. Nothing is held open before the first `overwrite`. */
export function diskSlots(path: string): SlotStorage {
  let handle: FileHandle | undefined;
  return {
    async read() {
      try {
        // The pages are in memory: reading them takes less than handing the work to another thread. By its name, since another
        // process may have put another file there.
        return new Uint8Array(readFileSync(path));
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw cause;
      }
    },
    async create(bytes) {
      await handle?.close();
      handle = undefined;
      await diskFiles.write(path, bytes, 0o600);
    },
    async overwrite(offset, bytes) {
      handle ??= await open(path, constants.O_RDWR | (SYNCED ?? 0));
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, offset);
      if (bytesWritten !== bytes.length) throw new Error(`${bytesWritten} of ${bytes.length} bytes written`);
      if (SYNCED === undefined) await handle.datasync();
    },
    async close() {
      await handle?.close();
      handle = undefined;
    },
  };
}

/** What a file of slots was found to hold. */
export type SlotsFound =
  | { readonly kind: 'missing' }
  | { readonly kind: 'empty' }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'values'; readonly values: readonly (Uint8Array | undefined)[] };

/** Reads the file; a slot that was cut off or never written is undefined, both so is damage. */
export async function readSlots(storage: SlotStorage): Promise<SlotsFound> {
  const bytes = await storage.read();
  if (bytes === undefined) return { kind: 'missing' };
  if (bytes.length === 0) return { kind: 'empty' };
  if (bytes.length !== 2 * SLOT_BYTES) return { kind: 'damaged' };
  const values = [bytes.subarray(0, SLOT_BYTES), bytes.subarray(SLOT_BYTES)].map(readSlot);
  return values.every((value) => value === undefined) ? { kind: 'damaged' } : { kind: 'values', values };
}

function readSlot(slot: Uint8Array): Uint8Array | undefined {
  const length = Buffer.from(slot).readUInt32BE(DIGEST_BYTES);
  if (length === 0 || length > SLOT_VALUE_BYTES_MAX) return undefined;
  const covered = slot.subarray(DIGEST_BYTES, DIGEST_BYTES + LENGTH_BYTES + length);
  const digest = createHash('sha256').update(covered).digest();
  return digest.equals(slot.subarray(0, DIGEST_BYTES)) ? covered.slice(LENGTH_BYTES) : undefined;
}

/** The bytes of a slot with this value. */
export function formatSlot(value: Uint8Array): Uint8Array {
  if (value.length === 0 || value.length > SLOT_VALUE_BYTES_MAX) {
    throw new RangeError(`expected 1 to ${SLOT_VALUE_BYTES_MAX} bytes, got ${value.length}`);
  }
  const slot = Buffer.alloc(SLOT_BYTES);
  slot.writeUInt32BE(value.length, DIGEST_BYTES);
  slot.set(value, DIGEST_BYTES + LENGTH_BYTES);
  const covered = slot.subarray(DIGEST_BYTES, DIGEST_BYTES + LENGTH_BYTES + value.length);
  slot.set(createHash('sha256').update(covered).digest());
  return new Uint8Array(slot);
}
