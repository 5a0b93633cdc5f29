// SPDX-License-Identifier: Apache-2.0
// The interface through which a host gives its own cryptography and hashing, and the portable one that needs no host.

import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { sha256 } from '@noble/hashes/sha2.js';

/** Hashing and signature checks. Verification answers false for anything malformed; it never throws. */
export interface Crypto {
  /** SHA-256 [FIPS180-4 §6.2], 32 bytes. */
  sha256(data: Uint8Array): Uint8Array;
  /** ECDSA P-256 over SHA-256 [FIPS186-5 §6.4]: key as DER SubjectPublicKeyInfo, signature as DER [RFC3279 §2.2.3]. */
  verifyP256(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
  /** Ed25519 [RFC8032 §5.1.7]: key of 32 bytes, signature of 64. */
  verifyEd25519(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
  /**
   * RSASSA-PSS with SHA-256, for the mask too, and salt of any length [RFC8017 §8.1.2]: key as DER SubjectPublicKeyInfo. Absent
   * where the host has none; keys that need it sign nothing then.
   */
  verifyRsaPss?(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
}

/** DER before the 65-byte uncompressed point of a P-256 SubjectPublicKeyInfo [RFC5480 §2]. */
const P256_SPKI_PREFIX = [
  0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
  0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/**
 * ECDSA P-256 over a SHA-256 digest whose message is not at hand, which host crypto cannot do [FIPS186-5 §6.4.2]: key as DER
 * SubjectPublicKeyInfo, signature as DER. Answers false for anything malformed.
 */
export function verifyP256Digest(spki: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  return digest.length === 32 && verifyWith(spki, digest, signature, false);
}

function verifyWith(spki: Uint8Array, data: Uint8Array, signature: Uint8Array, prehash: boolean): boolean {
  const prefixed = P256_SPKI_PREFIX.every((b, i) => spki[i] === b);
  if (!prefixed || spki.length !== P256_SPKI_PREFIX.length + 65) return false;
  try {
    // Low-S is a rule of Bitcoin, not of FIPS 186: OpenSSL and tokens make either.
    const options = { prehash, lowS: false, format: 'der' } as const;
    return p256.verify(signature, data, spki.subarray(P256_SPKI_PREFIX.length), options);
  } catch {
    return false;
  }
}

/** Pure JavaScript, for any ES2022 engine. */
export const portableCrypto: Crypto = {
  sha256: (data) => sha256(data),
  verifyP256: (spki, data, signature) => verifyWith(spki, data, signature, true),
  verifyEd25519(publicKey, data, signature) {
    try {
      return ed25519.verify(signature, data, publicKey);
    } catch {
      return false;
    }
  },
};
