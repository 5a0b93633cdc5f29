// SPDX-License-Identifier: Apache-2.0
// Verified metadata that a TUF client keeps between runs [TUF-1.0.34 §5.1]: rollback protection lives there. One file a role, each
// written whole or not at all.

import { quote, Unavailable } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles } from './host.ts';
import { copyPath } from './records.ts';

/** Which of the two files of a role. */
export interface KeptRole {
  readonly role: string;
  readonly copy: boolean;
}

export class MetadataStore {
  private readonly files: DeviceFiles;
  private readonly folder: string;

  constructor(files: DeviceFiles, folder: string) {
    this.files = files;
    this.folder = folder;
  }

  /** The kept bytes of a role; undefined if none were kept. @throws TUF_STATE_UNWRITABLE */
  read(kept: KeptRole): Promise<Uint8Array | undefined> {
    return this.asState(() => this.files.read(this.path(kept)));
  }

  /** Keeps the verified bytes of a role; they outlive a power cut. @throws TUF_STATE_UNWRITABLE */
  write(kept: KeptRole, bytes: Uint8Array): Promise<void> {
    return this.asState(() => this.files.write(this.path(kept), bytes));
  }

  /** Forgets a role. @throws TUF_STATE_UNWRITABLE */
  remove(kept: KeptRole): Promise<void> {
    return this.asState(() => this.files.remove(this.path(kept)));
  }

  private path({ role, copy }: KeptRole): string {
    // A role's name is foreign text: encoded, it cannot leave the folder, and is none of the names that this folder gives itself.
    const path = `${this.folder}/${encodeURIComponent(role).replace(/\./g, '%2E')}.json`;
    return copy ? copyPath(path) : path;
  }

  private async asState<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (!(cause instanceof Unavailable)) throw cause;
      throw DEVICE.unavailable('TUF_STATE_UNWRITABLE', `${quote(this.folder)}: ${cause.message}`, { cause });
    }
  }
}
