// SPDX-License-Identifier: Apache-2.0
// The agent's outside: clock, network and files. All its durable writing goes through `DeviceFiles`.

import type { Crypto } from '../core/crypto.ts';

/** What the agent needs from the machine that it runs on. */
export interface DeviceHost {
  /** Milliseconds since 1970. */
  nowMs(): number;
  /** HTTP as `fetch` speaks it. */
  fetch(url: string, init: RequestInit): Promise<Response>;
  readonly files: DeviceFiles;
  /** Its hashing and signature checks. */
  readonly crypto: Crypto;
}

/** Files of the device folder. Failures are thrown as DEVICE_STATE_UNWRITABLE, for slots as SLOT_UNWRITABLE. */
export interface DeviceFiles {
  /** A whole file of at most 16 MiB; undefined if there is none. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Writes a file whole or not at all, durably: beside, fsync, rename, fsync folder. Folders are made. */
  write(path: string, bytes: Uint8Array, mode?: number): Promise<void>;
  /** Removes a file, durably; nothing happens if there is none. */
  remove(path: string): Promise<void>;
  /** Names in a folder, sorted; none if there is no such folder. */
  list(folder: string): Promise<string[]>;
  /** Claims a folder of claims for this process, undefined if another living process has it. Returns how to let go. */
  lock(folder: string): Promise<(() => Promise<void>) | undefined>;
  /** Opens a slot to be written from its start; what it held before is lost. */
  openSlot(path: string): Promise<SlotWriter>;
  /** What the slot holds now, from start to end; nothing if it was never written. A piece holds until the next one is asked for. */
  readSlot(path: string): AsyncIterable<Uint8Array>;
}

export interface SlotWriter {
  write(chunk: Uint8Array): Promise<void>;
  /** Returns once everything written is on the medium, and closes the slot. */
  finish(): Promise<void>;
  /** Closes without waiting for the medium. */
  abandon(): Promise<void>;
}
