// SPDX-License-Identifier: Apache-2.0
// Entries of a certificate transparency log as data tiles hold them [C2SP-static-ct-api-v1.0.0 §Log Entries], and the leaves that they stand for
// [RFC6962 §3.4].

import { hashLeaf } from '../../core/tlog/merkle.ts';
import { contextTag, parseDer, TAG } from '../../core/x509/der.ts';
import { X509 } from '../../core/x509/faults.ts';
import { nodeHasher } from '../log/hash-tiles.ts';
import { bitString, sequence } from '../trust/der.ts';

/** An entry of a data tile. Unauthenticated until its leaf hash is. */
export interface CertificateEntry {
  readonly leafHash: Uint8Array;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  /** DER TBSCertificate without poison and timestamps; undefined for a final certificate, which has none of its own here. */
  readonly tbs: Uint8Array | undefined;
  /** DER of the certificate; or of a precertificate, which is not part of the leaf: nothing says that it has this TBSCertificate. */
  readonly der: Uint8Array;
}

/** Reads 1 to 256 entries; undefined if the tile is not made of whole entries. */
export function parseDataTile(tile: Uint8Array): CertificateEntry[] | undefined {
  const view = new DataView(tile.buffer, tile.byteOffset, tile.byteLength);
  const entries: CertificateEntry[] = [];
  let at = 0;
  /** The next octets, after a length of `width` octets. */
  const vector = (width: number): Uint8Array => {
    let length = 0;
    for (let i = 0; i < width; i++) length = length * 256 + view.getUint8(at + i);
    at += width;
    if (at + length > tile.length) throw new RangeError('past the end');
    at += length;
    return tile.subarray(at - length, at);
  };
  try {
    while (at < tile.length) {
      const start = at;
      const timeMs = Number(view.getBigUint64(at));
      const isPrecertificate = view.getUint16(at + 8) === 1;
      if (!isPrecertificate && view.getUint16(at + 8) !== 0) return undefined;
      at += isPrecertificate ? 10 + 32 : 10;
      const signed = vector(3);
      vector(2);
      // Version 1 and the kind of leaf, then what the tile holds up to here.
      const leaf = new Uint8Array(2 + at - start);
      leaf.set(tile.subarray(start, at), 2);
      const der = isPrecertificate ? vector(3) : signed;
      const chainSizeBytes = vector(2).length;
      if (chainSizeBytes % 32 !== 0) return undefined;
      entries.push({
        leafHash: hashLeaf(leaf, nodeHasher),
        timeMs,
        tbs: isPrecertificate ? signed : undefined,
        der,
      });
    }
  } catch (cause) {
    if (cause instanceof RangeError) return undefined;
    throw cause;
  }
  return entries;
}

/** A certificate of this TBSCertificate, with an empty signature: to be read, not believed. @throws X509_CERTIFICATE_MALFORMED */
export function withoutSignature(tbs: Uint8Array): Uint8Array {
  const bad = (message: string, at: string) => X509.reject('X509_CERTIFICATE_MALFORMED', message, { at });
  const members = parseDer(tbs, bad).members();
  members.next(contextTag(0, 'constructed'));
  members.next(TAG.integer);
  return sequence(tbs, members.next().der, bitString(new Uint8Array()));
}
