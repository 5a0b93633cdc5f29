// SPDX-License-Identifier: Apache-2.0
// The operations of a file system of which durable writing is made, one by one: after any of them the power may go. Until a file and
// its folder are synced, nothing says in which order what was done reaches the medium, or whether it does.

import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';

/** Failures are those of the system, with its `code`. */
export interface FileSystem {
  /** Makes a folder and those above it; the topmost that was made, undefined if all were there. */
  makeFolder(path: string): Promise<string | undefined>;
  /** Writes a file that must not be there yet. */
  createFile(path: string, bytes: Uint8Array, mode: number): Promise<void>;
  /** Returns once the content is on the medium. */
  syncFile(path: string): Promise<void>;
  /** Replaces what the second path names by the first. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file if it is there. */
  removeFile(path: string): Promise<void>;
  /** Returns once the names in a folder are on the medium. */
  syncFolder(path: string): Promise<void>;
  /** A whole file; no bytes for what is no file or is larger. */
  readFile(path: string, sizeBytesMax: number): Promise<Uint8Array>;
  /** Names in a folder. */
  list(path: string): Promise<readonly string[]>;
}

export const nodeFileSystem: FileSystem = {
  makeFolder: (path) => mkdir(path, { recursive: true }),
  async createFile(path, bytes, mode) {
    await closed(await open(path, 'wx', mode), (file) => file.writeFile(bytes));
  },
  async syncFile(path) {
    await closed(await open(path, 'r+'), (file) => file.sync());
  },
  rename,
  removeFile: (path) => rm(path, { force: true }),
  async syncFolder(path) {
    await closed(await open(path, 'r'), (folder) => folder.sync());
  },
  async readFile(path, sizeBytesMax) {
    const found = await stat(path);
    // Nothing that the agent wrote, and a pipe would keep it waiting for ever.
    if (!found.isFile() || found.size > sizeBytesMax) return new Uint8Array();
    return new Uint8Array(await readFile(path));
  },
  list: (path) => readdir(path),
};

async function closed(handle: FileHandle, work: (handle: FileHandle) => Promise<unknown>): Promise<void> {
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}
