// SPDX-License-Identifier: Apache-2.0
// Sizes and digests by which roles name other files [TUF-1.0.34 §4.4, §4.5]: SHA-256 and SHA-512 [FIPS180-4 §6.2, §6.4]. Every digest
// that is listed and known must fit, and one must be known.

import { sha512 } from '@noble/hashes/sha2.js';
import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import { TUF } from './faults.ts';
import type { Hashes, MetaFile } from './roles.ts';

/** A file as it was found; digests in lower-case hex, at least those that are listed of it. */
export interface FoundFile {
  readonly sizeBytes: number;
  readonly hashes: Hashes;
}

/** The size and the listed digests of bytes. */
export function digestBytes(bytes: Uint8Array, listed: Hashes, hasher: Pick<Crypto, 'sha256'>): FoundFile {
  return {
    sizeBytes: bytes.length,
    hashes: {
      ...(listed.sha256 === undefined ? {} : { sha256: hexEncode(hasher.sha256(bytes)) }),
      ...(listed.sha512 === undefined ? {} : { sha512: hexEncode(sha512(bytes)) }),
    },
  };
}

/** What differs between a file and what is said of it; undefined if nothing does. */
export function differenceOf(
  listed: { readonly sizeBytes?: number; readonly hashes?: Hashes },
  found: FoundFile,
): string | undefined {
  if (listed.sizeBytes !== undefined && listed.sizeBytes !== found.sizeBytes) {
    return `expected ${listed.sizeBytes} bytes, got ${found.sizeBytes}`;
  }
  if (listed.hashes === undefined) return undefined;
  const { sha256, sha512 } = listed.hashes;
  if (sha256 === undefined && sha512 === undefined)
    return 'expected a SHA-256 or SHA-512 digest to be listed, got others';
  if (sha256 !== undefined && sha256 !== found.hashes.sha256) {
    return `expected sha256:${sha256}, got sha256:${found.hashes.sha256}`;
  }
  if (sha512 !== undefined && sha512 !== found.hashes.sha512) {
    return `expected sha512:${sha512}, got sha512:${found.hashes.sha512}`;
  }
  return undefined;
}

/** Checks metadata against what the role above lists, before anything else is looked at [TUF-1.0.34 §5.5.2]. @throws TUF_METADATA_DIGEST */
export function checkMetaFile(
  role: string,
  bytes: Uint8Array,
  meta: MetaFile,
  hasher: Pick<Crypto, 'sha256'>,
): void {
  const difference = differenceOf(meta, digestBytes(bytes, meta.hashes ?? {}, hasher));
  if (difference !== undefined) throw TUF.reject('TUF_METADATA_DIGEST', `${quote(role)}: ${difference}`);
}
