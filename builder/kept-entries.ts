// SPDX-License-Identifier: Apache-2.0
// Results under Waybill's cache folder by the digest of all that decides them [docs/spec/step-cache.md §Entry].

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';

export class KeptEntries {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What was kept, as `write` got it; undefined if it is not there whole. Nothing checks its form: only `write` makes such files. */
  async read(key: string): Promise<unknown> {
    const text = await readFile(join(this.#folder, key), 'utf8').catch(() => '');
    const body = text.slice(65);
    // A damaged one is written over when the result is there again.
    return text.slice(0, 65) === `${sha256(body)}\n` ? JSON.parse(body) : undefined;
  }

  /** Says that an entry is in use: what nobody used for long is swept. */
  async touch(key: string): Promise<void> {
    const now = new Date();
    await utimes(join(this.#folder, key), now, now);
  }

  /** Keeps a value that JSON can hold. Two builds may do this at once. @throws what the disk says */
  async write(key: string, value: unknown): Promise<void> {
    const body = JSON.stringify(value);
    const beside = join(this.#folder, `new-${randomBytes(8).toString('hex')}`);
    await mkdir(this.#folder, { recursive: true });
    try {
      const file = await open(beside, 'wx');
      try {
        await file.writeFile(`${sha256(body)}\n${body}`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, join(this.#folder, key));
    } finally {
      await rm(beside, { force: true });
    }
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
