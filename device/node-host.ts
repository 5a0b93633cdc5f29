// SPDX-License-Identifier: Apache-2.0
// The outside of an agent that runs on Node: system clock, `fetch`, and files written so that a power cut leaves the old
// or the new content, never a mixture.

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote, type Unavailable } from '../core/faults.ts';
import { nodeCrypto } from '../peers/node-crypto.ts';
import { DEVICE } from './faults.ts';
import { type FileSystem, nodeFileSystem } from './file-system.ts';
import type { DeviceFiles, DeviceHost, SlotWriter } from './host.ts';
import { claimFolder } from './node-lock.ts';

const FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024;
/** What a slot is read in. */
const READ_SIZE_BYTES = 1024 * 1024;

/** The host of the `waybill device` command. */
export function nodeHost(): DeviceHost {
  return {
    nowMs: () => Date.now(),
    fetch: (url, init) => fetch(url, init),
    files: nodeFiles,
    crypto: nodeCrypto,
  };
}

/** Files that are whole and durable, made of the operations of a file system. */
export function durableFiles(system: FileSystem): Pick<DeviceFiles, 'read' | 'write' | 'remove' | 'list'> {
  return {
    async read(path) {
      try {
        return await system.readFile(path, FILE_SIZE_BYTES_MAX);
      } catch (cause) {
        if (errno(cause) === 'ENOENT') return undefined;
        throw stateFault('read', path, cause);
      }
    },

    async write(path, bytes, mode = 0o644) {
      const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
      try {
        await makeFolder(system, dirname(path));
        await system.createFile(beside, bytes, mode);
        await system.syncFile(beside);
        await system.rename(beside, path);
        await system.syncFolder(dirname(path));
      } catch (cause) {
        await system.removeFile(beside).catch(() => undefined);
        throw stateFault('write', path, cause);
      }
    },

    async remove(path) {
      try {
        await system.removeFile(path);
        await system.syncFolder(dirname(path));
      } catch (cause) {
        if (errno(cause) === 'ENOENT') return;
        throw stateFault('remove', path, cause);
      }
    },

    async list(folder) {
      try {
        return [...(await system.list(folder))].sort();
      } catch (cause) {
        if (errno(cause) === 'ENOENT') return [];
        throw stateFault('read', folder, cause);
      }
    },
  };
}

/** A folder that was just made is as fleeting as a file: the folder above must hold its name. */
async function makeFolder(system: FileSystem, folder: string): Promise<void> {
  const first = await system.makeFolder(folder);
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) {
    await system.syncFolder(dirname(made));
  }
}

export const nodeFiles: DeviceFiles = {
  ...durableFiles(nodeFileSystem),

  async lock(folder) {
    try {
      return await claimFolder(folder);
    } catch (cause) {
      throw stateFault('write', folder, cause);
    }
  },

  async openSlot(path) {
    try {
      await mkdir(dirname(path), { recursive: true });
      return slotWriter(await openEmpty(path), path);
    } catch (cause) {
      throw slotFault('open', path, cause);
    }
  },

  async *readSlot(path) {
    try {
      yield* readAhead(await open(path, constants.O_RDONLY));
    } catch (cause) {
      if (errno(cause) === 'ENOENT') return;
      throw slotFault('read', path, cause);
    }
  },
};

/** Reads a file to its end through two buffers: one is filled while whoever asked works on the other. Closes the file. */
async function* readAhead(file: FileHandle): AsyncGenerator<Uint8Array> {
  const buffers = [Buffer.allocUnsafeSlow(READ_SIZE_BYTES), Buffer.allocUnsafeSlow(READ_SIZE_BYTES)] as const;
  let reading = file.read(buffers[0], 0, READ_SIZE_BYTES, null);
  try {
    for (let turn = 1; ; turn++) {
      const { bytesRead, buffer } = await reading;
      if (bytesRead === 0) return;
      reading = file.read(buffers[(turn % 2) as 0 | 1], 0, READ_SIZE_BYTES, null);
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    // Whoever stops early leaves a read behind, which must not meet a closed file.
    await reading.catch(() => undefined);
    await file.close();
  }
}

/** Opens a file of its own and empties it: a link could lead to the active slot, and is not followed. */
async function openEmpty(path: string): Promise<FileHandle> {
  const { O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  try {
    const found = await file.stat();
    if (!found.isFile() || found.nlink !== 1) throw Object.assign(new Error(), { code: 'EMLINK' });
    await file.truncate(0);
    return file;
  } catch (cause) {
    await file.close();
    throw cause;
  }
}

function slotWriter(file: FileHandle, path: string): SlotWriter {
  return {
    async write(chunk) {
      try {
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
      } catch (cause) {
        throw slotFault('write', path, cause);
      }
    },
    async finish() {
      try {
        await file.sync();
        await file.close();
        await nodeFileSystem.syncFolder(dirname(path));
      } catch (cause) {
        throw slotFault('sync', path, cause);
      }
    },
    async abandon() {
      // The failure that led here is the one to report.
      await file.close().catch(() => undefined);
    },
  };
}

function errno(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? 'unknown';
}

function stateFault(verb: string, path: string, cause: unknown): Unavailable {
  return DEVICE.unavailable('DEVICE_STATE_UNWRITABLE', `could not ${verb} ${quote(path)}: ${errno(cause)}`, {
    cause,
  });
}

function slotFault(verb: string, path: string, cause: unknown): Unavailable {
  return DEVICE.unavailable('SLOT_UNWRITABLE', `could not ${verb} ${quote(path)}: ${errno(cause)}`, {
    cause,
  });
}
