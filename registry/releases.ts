// SPDX-License-Identifier: Apache-2.0
// What was released when, and what was withdrawn: read from each published index of releases [docs/spec/release-index.md] and kept
// after the index has dropped it, since an auditor asks about what is no longer offered.

import { parseReleaseIndex, releaseIndexName } from '../core/release/release-index.ts';
import type { Blobs } from './store/blobs.ts';
import type { Change, Database } from './store/database.ts';
import type { NamedTarget } from './tuf/role-document.ts';
import { productOfRole } from './tuf/role-document.ts';

/** One release of an image. */
export interface ReleaseRecord {
  readonly product: string;
  readonly version: string;
  /** RFC 3339; absent if the index never listed the release but denies it. */
  readonly releasedAt?: string;
  readonly withdrawn?: { readonly deniedAt: string; readonly reason: string };
}

export class ReleaseRecords {
  readonly #database: Database;
  readonly #blobs: Blobs;

  constructor(database: Database, blobs: Blobs) {
    this.#database = database;
    this.#blobs = blobs;
  }

  /** Reads the index that a product's role names, if it names one. @throws RELEASE_INDEX_MALFORMED, BLOB_UNKNOWN */
  async #index(role: string, targets: readonly NamedTarget[]) {
    const product = productOfRole(role);
    if (product === undefined) return undefined;
    const target = targets.find((candidate) => candidate.name === releaseIndexName(product));
    return target === undefined ? undefined : parseReleaseIndex(await this.#blobs.read(target.sha256));
  }

  /** Refuses metadata whose index of releases cannot be read. @throws RELEASE_INDEX_MALFORMED */
  async check(role: string, targets: readonly NamedTarget[]): Promise<void> {
    await this.#index(role, targets);
  }

  /** Records what a published role offers and denies; the same again changes nothing. @throws REGISTRY_STORE_FAILED */
  async record(role: string, targets: readonly NamedTarget[]): Promise<void> {
    const index = await this.#index(role, targets);
    if (index === undefined) return;
    const records = new Map<string, Change>();
    const put = async (imageSha256: string, version: string, news: Partial<ReleaseRecord>): Promise<void> => {
      const key = [imageSha256, index.product, version];
      const pending = records.get(key.join('/'))?.value as ReleaseRecord | undefined;
      const known = pending ?? (await this.#database.json<ReleaseRecord>('release', ...key));
      const value = { product: index.product, version, ...known, ...news };
      records.set(key.join('/'), { table: 'release', key, value: value as never });
    };
    for (const { image, version, releasedAt } of index.releases)
      await put(image.sha256, version, { releasedAt });
    for (const { imageSha256, version, deniedAt, reason } of index.denials) {
      await put(imageSha256, version, { withdrawn: { deniedAt, reason } });
    }
    if (records.size > 0) await this.#database.write([...records.values()]);
  }

  /** The releases of an image. @throws REGISTRY_STORE_FAILED */
  async of(imageSha256: string): Promise<readonly ReleaseRecord[]> {
    const found: ReleaseRecord[] = [];
    for await (const [, record] of this.#database.entriesUnder<ReleaseRecord>('release', imageSha256)) {
      found.push(record);
    }
    return found;
  }
}
