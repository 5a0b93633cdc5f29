// SPDX-License-Identifier: Apache-2.0
// Files that a role names, with the bodies to upload.

import { createHash } from 'node:crypto';
import type { ReleaseFile } from '../core/release/release-index.ts';

/** A file by TUF target name, digest and size, and its body. */
export interface GoodsFile extends ReleaseFile {
  readonly body: Uint8Array | Blob;
}

/** A file whose bytes are at hand. */
export function goodsOf(name: string, bytes: Uint8Array): GoodsFile & { readonly body: Uint8Array } {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { name, sha256, sizeBytes: bytes.length, body: bytes };
}

/** TUF target names of a release [docs/spec/tuf-repository.md §Names]. */
export function goodsNames(product: string, version: string): { image: string; pack: string; sbom: string } {
  return {
    image: `images/${product}/${product}-${version}.bin`,
    pack: `packs/${product}/${product}-${version}.waybill`,
    sbom: `packs/${product}/${product}-${version}.cdx.json`,
  };
}

/** Name of the TUF role that signs a product's goods. */
export function releasesRole(product: string): string {
  return `releases-${product}`;
}
