// SPDX-License-Identifier: Apache-2.0
// Files by digest under the cache folder. What is in it is believed only after it was hashed again.

import { createHash, hash, randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, read, readFileSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { BUILDER } from './faults.ts';

/**
 * Waybill's cache folder [XDG-basedir-0.8 §Environment variables]: a relative XDG_CACHE_HOME is ignored, as that asks.
 * @throws BUILD_FOLDER_UNWRITABLE without a home folder either
 */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = environment.XDG_CACHE_HOME;
  if (base?.startsWith('/') !== true && !home.startsWith('/')) {
    throw BUILDER.unavailable(
      'BUILD_FOLDER_UNWRITABLE',
      'expected HOME or XDG_CACHE_HOME to be an absolute path, for the cache, got neither',
    );
  }
  return join(base?.startsWith('/') === true ? base : join(home, '.cache'), 'waybill');
}

/** What a file in the store must be. */
export interface Pinned {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What nobody stated a size of may have, at most. */
const ADDED_MAX = 32 * 1024 ** 3;

export class ContentStore {
  readonly folder: string;

  /** `cache` is Waybill's cache folder. */
  constructor(cache: string, below = 'store') {
    this.folder = join(cache, below, 'sha256');
  }

  /** A store that somebody keeps, in the same form without the cache around it: `<folder>/sha256/…`. */
  static archive(folder: string): ContentStore {
    return new ContentStore(folder, '.');
  }

  /** Where a file is, or would be. */
  path(sha256: string): string {
    return join(this.folder, sha256.slice(0, 2), sha256);
  }

  /** True if the file is there and its bytes have its digest; a corrupted one is removed. @throws FETCH_STORE_UNWRITABLE */
  async holds(pinned: Pinned): Promise<boolean> {
    const path = this.path(pinned.sha256);
    try {
      if ((await hashFile(path)) === pinned.sha256) return true;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return false;
    }
    await store(() => rm(path, { force: true }));
    return false;
  }

  /**
   * Takes a file in: written beside, hashed on the way, kept only if it is the one pinned. Two builds may do this at once.
   * @throws FETCH_TOO_LARGE, FETCH_TRUNCATED, FETCH_DIGEST_MISMATCH, FETCH_STORE_UNWRITABLE, and what `chunks` throws
   */
  async take(pinned: Pinned, what: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#write(chunks, pinned.sizeBytes, what, (sizeBytes, sha256) =>
      checkTaken(pinned, what, sizeBytes, sha256),
    );
  }

  /**
   * Takes in what nothing pins yet: a digest comes out. Only for making a lock.
   * @throws FETCH_TOO_LARGE, FETCH_STORE_UNWRITABLE, and what `chunks` throws
   */
  async add(what: string, chunks: AsyncIterable<Uint8Array>, sizeBytesMax = ADDED_MAX): Promise<Pinned> {
    return this.#write(chunks, sizeBytesMax, what, () => undefined);
  }

  async #write(
    chunks: AsyncIterable<Uint8Array>,
    sizeBytesMax: number,
    what: string,
    check: (sizeBytes: number, sha256: string) => void,
  ): Promise<Pinned> {
    const beside = join(this.folder, `new-${randomBytes(8).toString('hex')}`);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    try {
      const file = await store(() => mkdirThenOpen(this.folder, beside));
      try {
        for await (const chunk of chunks) {
          sizeBytes += chunk.length;
          if (sizeBytes > sizeBytesMax) {
            throw BUILDER.reject(
              'FETCH_TOO_LARGE',
              `expected ${sizeBytesMax} bytes of ${what}, got more than that`,
            );
          }
          hash.update(chunk);
          await store(() => file.writeFile(chunk));
        }
        await store(() => file.sync());
      } finally {
        await file.close();
      }
      const sha256 = hash.digest('hex');
      check(sizeBytes, sha256);
      const path = this.path(sha256);
      await store(() => mkdir(dirname(path), { recursive: true }));
      await store(() => rename(beside, path));
      return { sha256, sizeBytes };
    } finally {
      // What went wrong before is what matters, not that tidying up went wrong for the same reason.
      await rm(beside, { force: true }).catch(() => undefined);
    }
  }
}

function checkTaken(pinned: Pinned, what: string, sizeBytes: number, sha256: string): void {
  if (sizeBytes < pinned.sizeBytes) {
    throw BUILDER.unavailable(
      'FETCH_TRUNCATED',
      `expected ${pinned.sizeBytes} bytes of ${what}, got ${sizeBytes}`,
    );
  }
  if (sha256 !== pinned.sha256) {
    throw BUILDER.reject(
      'FETCH_DIGEST_MISMATCH',
      `expected ${what} with SHA-256 ${pinned.sha256}, got ${sha256}`,
    );
  }
}

async function mkdirThenOpen(folder: string, file: string): ReturnType<typeof open> {
  await mkdir(folder, { recursive: true });
  return open(file, 'wx');
}

async function store<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'an error';
    throw BUILDER.unavailable('FETCH_STORE_UNWRITABLE', `expected a writable content store, got ${reason}`, {
      cause,
    });
  }
}

/** Read in parts of this size; a smaller file at once, since to ask another thread to do it takes longer than doing it. */
const CHUNK_SIZE_BYTES = 1 << 20;
const readSome = promisify(read);

/** Digest of a file, lower-case hex. */
export async function hashFile(path: string, algorithm: 'sha256' | 'sha512' = 'sha256'): Promise<string> {
  const descriptor = openSync(path, 'r');
  try {
    if (fstatSync(descriptor).size <= CHUNK_SIZE_BYTES) return hash(algorithm, readFileSync(descriptor));
    const whole = createHash(algorithm);
    const chunk = Buffer.allocUnsafeSlow(CHUNK_SIZE_BYTES);
    for (let count = 1; count > 0; ) {
      count = (await readSome(descriptor, chunk, 0, chunk.length, null)).bytesRead;
      whole.update(chunk.subarray(0, count));
    }
    return whole.digest('hex');
  } finally {
    closeSync(descriptor);
  }
}
