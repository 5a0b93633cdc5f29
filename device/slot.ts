// SPDX-License-Identifier: Apache-2.0
// Images in slots: streamed to the medium under a size limit, hashed on the way, and hashed again as the slot holds them
// [docs/spec/device.md §Order of an update]. The host hashes: portable code would need minutes.

import { createHash } from 'node:crypto';
import { Unavailable } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles } from './host.ts';

export interface SlotDigest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What a slot holds now, as the host reads it back. @throws SLOT_UNWRITABLE */
export async function digestSlot(files: DeviceFiles, path: string): Promise<SlotDigest> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of files.readSlot(path)) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  return { sha256: hash.digest('hex'), sizeBytes };
}

/**
 * Writes a stream to a slot and waits for the medium. Returns the digest of what came in, not of what the slot holds.
 * @throws UPDATE_IMAGE_TOO_LONG, SLOT_UNWRITABLE, and what the stream throws
 */
export async function writeSlot(
  files: DeviceFiles,
  path: string,
  stream: AsyncIterable<Uint8Array>,
  sizeBytesMax: number,
): Promise<SlotDigest> {
  const slot = await files.openSlot(path);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  try {
    for await (const chunk of stream) {
      sizeBytes += chunk.length;
      if (sizeBytes > sizeBytesMax) {
        throw DEVICE.reject('UPDATE_IMAGE_TOO_LONG', `expected at most ${sizeBytesMax} bytes, got more`);
      }
      hash.update(chunk);
      await slot.write(chunk);
    }
  } catch (failure) {
    await slot.abandon();
    throw failure;
  }
  await slot.finish();
  return { sha256: hash.digest('hex'), sizeBytes };
}

/** Empties a slot as well as it can be done: its own failure must not hide the reason for it. */
export async function emptySlot(files: DeviceFiles, path: string): Promise<void> {
  try {
    await (await files.openSlot(path)).finish();
  } catch (failure) {
    if (!(failure instanceof Unavailable)) throw failure;
  }
}

/** The incoming bytes are the image that the evidence is about. @throws UPDATE_IMAGE_MISMATCH */
export function checkDownload(got: SlotDigest, imageSha256: string): void {
  if (got.sha256 !== imageSha256) {
    throw DEVICE.reject(
      'UPDATE_IMAGE_MISMATCH',
      `expected sha256:${imageSha256}, downloaded ${describe(got)}`,
    );
  }
}

/** The slot holds the image that the evidence is about. @throws SLOT_READBACK_MISMATCH */
export function checkReadBack(held: SlotDigest, imageSha256: string): void {
  if (held.sha256 !== imageSha256) {
    throw DEVICE.reject(
      'SLOT_READBACK_MISMATCH',
      `expected sha256:${imageSha256} in the slot, it holds ${describe(held)}`,
    );
  }
}

/** The active slot still holds the installed image. @throws SLOT_ACTIVE_DAMAGED */
export function checkActive(held: SlotDigest, imageSha256: string): void {
  if (held.sha256 !== imageSha256) {
    throw DEVICE.reject(
      'SLOT_ACTIVE_DAMAGED',
      `expected sha256:${imageSha256} in the active slot, it holds ${describe(held)}`,
    );
  }
}

function describe({ sha256, sizeBytes }: SlotDigest): string {
  return `sha256:${sha256} (${sizeBytes} bytes)`;
}
