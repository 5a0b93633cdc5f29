// SPDX-License-Identifier: Apache-2.0
// Bodies by their SHA-256, one file each under `sha256/<first two digits>/<digest>`: streamed and hashed while written, kept
// for ever, never changed [docs/spec/registry-api.md §Blobs].

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Rejection, Unavailable } from '../../core/faults.ts';
import { STORE } from '../store-faults.ts';
import { removeLeftovers, storeFailure, syncFolder } from './durable-files.ts';

/** A body that has been written and hashed but is not yet kept. */
export interface StagedBlob {
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** The disk that blobs share with the database. */
export interface DiskSpace {
  /** What blobs leave free. */
  readonly reserveBytes: number;
  /** What is free now. */
  readonly freeBytes: () => Promise<number>;
}

/** Space is looked at again after so many bytes: uploads that arrive at once share it. */
const SPACE_CHECK_BYTES = 16 * 1024 * 1024;

/** Where the store in a folder keeps a body. */
export function blobPath(folder: string, sha256: string): string {
  return join(folder, 'sha256', sha256.slice(0, 2), sha256);
}

export class Blobs {
  readonly #folder: string;
  readonly #space: DiskSpace;

  private constructor(folder: string, space: DiskSpace) {
    this.#folder = folder;
    this.#space = space;
  }

  /** Opens the store and removes what interrupted uploads left. @throws REGISTRY_STORE_FAILED */
  static async open(folder: string, space: Partial<DiskSpace> = {}): Promise<Blobs> {
    const freeBytes = async () => {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    };
    const blobs = new Blobs(folder, { reserveBytes: 0, freeBytes, ...space });
    try {
      await mkdir(join(folder, 'incoming'), { recursive: true });
      await removeLeftovers(join(folder, 'incoming'));
    } catch (cause) {
      throw storeFailure('could not open the blob store', cause);
    }
    return blobs;
  }

  #path(sha256: string): string {
    return blobPath(this.#folder, sha256);
  }

  /** The size of a kept blob, or undefined. @throws REGISTRY_STORE_FAILED */
  async sizeBytes(sha256: string): Promise<number | undefined> {
    try {
      return (await stat(this.#path(sha256))).size;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw storeFailure('could not look for a blob', cause);
    }
  }

  /** The bytes of a kept blob. @throws BLOB_UNKNOWN, REGISTRY_STORE_FAILED */
  async read(sha256: string): Promise<Uint8Array> {
    try {
      return new Uint8Array(await readFile(this.#path(sha256)));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
        throw storeFailure('could not read a blob', cause);
      throw STORE.reject('BLOB_UNKNOWN', `expected a blob ${sha256}, found none`);
    }
  }

  /** A stream of a kept blob. @throws BLOB_UNKNOWN, REGISTRY_STORE_FAILED */
  async stream(sha256: string): Promise<{ readonly sizeBytes: number; readonly body: Readable }> {
    const sizeBytes = await this.sizeBytes(sha256);
    if (sizeBytes === undefined) throw STORE.reject('BLOB_UNKNOWN', `expected a blob ${sha256}, found none`);
    return { sizeBytes, body: createReadStream(this.#path(sha256)) };
  }

  /**
   * Refuses what would leave less space than the reserve: a full disk would stop the database.
   * @throws BLOB_SPACE_SHORT, REGISTRY_STORE_FAILED
   */
  async #checkSpace(neededBytes: number): Promise<void> {
    const { reserveBytes, freeBytes } = this.#space;
    const leftBytes = (await freeBytes()) - neededBytes;
    if (leftBytes >= reserveBytes) return;
    throw STORE.unavailable(
      'BLOB_SPACE_SHORT',
      `expected room for ${neededBytes} bytes and ${reserveBytes} to stay free, got less`,
    );
  }

  /**
   * Writes a body beside the store, hashing it. `announcedBytes` is what the sender says of its size, if anything; it is not believed.
   * @throws BLOB_TOO_LARGE, BLOB_TRUNCATED, BLOB_SPACE_SHORT, REGISTRY_STORE_FAILED
   */
  async stage(
    body: AsyncIterable<Uint8Array>,
    sizeBytesMax: number,
    announcedBytes = 0,
  ): Promise<StagedBlob> {
    const path = join(this.#folder, 'incoming', `${randomBytes(12).toString('hex')}.new`);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let checkedBytes = 0;
    try {
      await this.#checkSpace(announcedBytes);
      const file = await open(path, 'wx', 0o644);
      try {
        for await (const chunk of body) {
          sizeBytes += chunk.length;
          if (sizeBytes > sizeBytesMax) {
            throw STORE.reject('BLOB_TOO_LARGE', `expected at most ${sizeBytesMax} bytes, got more`);
          }
          if (sizeBytes - checkedBytes > SPACE_CHECK_BYTES) {
            await this.#checkSpace(chunk.length);
            checkedBytes = sizeBytes;
          }
          hash.update(chunk);
          await file.writeFile(chunk);
        }
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (cause) {
      await rm(path, { force: true }).catch(() => undefined);
      if (cause instanceof Rejection || cause instanceof Unavailable) throw cause;
      const code = (cause as NodeJS.ErrnoException).code;
      if (code === 'ECONNRESET' || code === 'ERR_STREAM_PREMATURE_CLOSE') {
        throw STORE.reject('BLOB_TRUNCATED', `expected the whole body, got ${sizeBytes} bytes`, { cause });
      }
      throw storeFailure('could not write a blob', cause);
    }
    return { path, sha256: hash.digest('hex'), sizeBytes };
  }

  /** The bytes of a staged body. @throws REGISTRY_STORE_FAILED */
  async readStaged(staged: StagedBlob): Promise<Uint8Array> {
    try {
      return new Uint8Array(await readFile(staged.path));
    } catch (cause) {
      throw storeFailure('could not read a blob', cause);
    }
  }

  /** Keeps a staged body for ever; durable when it resolves. @throws REGISTRY_STORE_FAILED */
  async keep(staged: StagedBlob): Promise<void> {
    const target = this.#path(staged.sha256);
    const folder = join(this.#folder, 'sha256', staged.sha256.slice(0, 2));
    try {
      await mkdir(folder, { recursive: true });
      await rename(staged.path, target);
      await syncFolder(folder);
      await syncFolder(join(this.#folder, 'sha256'));
    } catch (cause) {
      await this.drop(staged);
      throw storeFailure('could not keep a blob', cause);
    }
  }

  /** Forgets a staged body. */
  async drop(staged: StagedBlob): Promise<void> {
    await rm(staged.path, { force: true }).catch(() => undefined);
  }

  /** Keeps bytes that are at hand; returns their digest. @throws REGISTRY_STORE_FAILED */
  async add(bytes: Uint8Array): Promise<string> {
    const staged = await this.stage(
      (async function* () {
        yield bytes;
      })(),
      bytes.length,
    );
    await this.keep(staged);
    return staged.sha256;
  }
}
