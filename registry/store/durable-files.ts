// SPDX-License-Identifier: Apache-2.0
// Files written whole or not at all, and durable once acknowledged: beside, fsync, rename, fsync of the folder. All durable
// writes of the TUF repository go through this interface, so that a test can cut them off anywhere.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { quote } from '../../core/faults.ts';
import { STORE } from '../store-faults.ts';

export interface DurableFiles {
  /** Replaces a file; when it resolves, the bytes outlive a power cut. @throws REGISTRY_STORE_FAILED */
  write(path: string, bytes: Uint8Array | string, mode?: number): Promise<void>;
  /** The bytes, or undefined if there is no such file. @throws REGISTRY_STORE_FAILED */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Removes a file if it is there. @throws REGISTRY_STORE_FAILED */
  remove(path: string): Promise<void>;
  /** The names in a folder; none if there is no such folder. @throws REGISTRY_STORE_FAILED */
  list(folder: string): Promise<readonly string[]>;
}

/** The file system itself. */
export const diskFiles: DurableFiles = {
  async write(path, bytes, mode = 0o644) {
    const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(beside, 'wx', mode);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, path);
      await syncFolder(dirname(path));
    } catch (cause) {
      await rm(beside, { force: true }).catch(() => undefined);
      throw storeFailure(`could not write ${quote(path)}`, cause);
    }
  },
  async read(path) {
    try {
      return new Uint8Array(await readFile(path));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw storeFailure(`could not read ${quote(path)}`, cause);
    }
  },
  async remove(path) {
    try {
      await rm(path, { force: true });
      await syncFolder(dirname(path));
    } catch (cause) {
      throw storeFailure(`could not remove ${quote(path)}`, cause);
    }
  },
  async list(folder) {
    try {
      return (await readdir(folder)).sort();
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw storeFailure(`could not read ${quote(folder)}`, cause);
    }
  },
};

/** Makes renames and removals in a folder durable; on systems where folders cannot be synced the rename has to do. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code !== 'EISDIR' && code !== 'EPERM' && code !== 'EINVAL') throw cause;
  } finally {
    await handle.close();
  }
}

/** As our own writes name what they move into place. */
const LEFTOVER = /(?:^|\.)(?:[0-9a-f]{12}|[0-9a-f]{24})\.new$/;

/** Removes what an interrupted write left beside its file. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await diskFiles.list(folder)) {
    if (LEFTOVER.test(name)) await rm(join(folder, name), { force: true });
  }
}

/** The same of one file in a folder that may be others'. */
export async function removeLeftoversOf(path: string): Promise<void> {
  const [folder, name] = [dirname(path), basename(path)];
  for (const found of await diskFiles.list(folder)) {
    const isLeft = found.startsWith(name) && /^\.[0-9a-f]{12}\.new$/.test(found.slice(name.length));
    if (isLeft) await rm(join(folder, found), { force: true });
  }
}

/** Any failure of storage as the fault that says "nothing was acknowledged". */
export function storeFailure(what: string, cause: unknown): Error {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  return STORE.unavailable('REGISTRY_STORE_FAILED', `${what}: ${reason}`, { cause });
}
