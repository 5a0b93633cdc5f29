// SPDX-License-Identifier: Apache-2.0
// The interface through which a host gives its own cryptography and hashing, and the portable one that needs no host.

import { sha384, sha512 } from '@noble/hashes/sha2.js';
import { P256, P384 } from './curve/ecdsa.ts';
import { verifyEd25519 } from './curve/ed25519.ts';
import { sha256 } from './sha256.ts';

/** SHA-2, by the names that it has here. */
export type HashName = 'sha256' | 'sha384' | 'sha512';

/** Curves of ECDSA [FIPS186-5 §6.1.1]. */
export type EcdsaCurve = 'P-256' | 'P-384';

/** Hashing and signature checks. Verification answers false for anything malformed; it never throws. */
export interface Crypto {
  /** SHA-256 [FIPS180-4 §6.2], 32 bytes. */
  sha256(data: Uint8Array): Uint8Array;
  /** SHA-384 [FIPS180-4 §6.5], 48 bytes. */
  sha384(data: Uint8Array): Uint8Array;
  /** SHA-512 [FIPS180-4 §6.4], 64 bytes. */
  sha512(data: Uint8Array): Uint8Array;
  /** ECDSA P-256 over SHA-256 [FIPS186-5 §6.4]: key as DER SubjectPublicKeyInfo, signature as DER [RFC3279 §2.2.3]. */
  verifyP256(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
  /** The same where SHA-256 of the data is at hand; absent where the host only takes data. */
  verifyP256Digest?(spki: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean;
  /** ECDSA as foreign chains have it: key as DER SubjectPublicKeyInfo on the curve named, signature as DER. */
  verifyEcdsa(
    scheme: { readonly curve: EcdsaCurve; readonly hash: HashName },
    spki: Uint8Array,
    data: Uint8Array,
    signature: Uint8Array,
  ): boolean;
  /** Ed25519 [RFC8032 §5.1.7]: key of 32 bytes, signature of 64. */
  verifyEd25519(publicKey: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
  /** RSASSA-PKCS1-v1_5 [RFC8017 §8.2.2], key as DER SubjectPublicKeyInfo; absent where the host has none. */
  verifyRsaPkcs1?(hash: HashName, spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
  /**
   * RSASSA-PSS with SHA-256, for the mask too, and salt of any length [RFC8017 §8.1.2]: key as DER SubjectPublicKeyInfo. Absent
   * where the host has none; keys that need it sign nothing then.
   */
  verifyRsaPss?(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean;
}

/** DER before the uncompressed point of an elliptic curve SubjectPublicKeyInfo [RFC5480 §2], and the size of the point. */
const CURVES = {
  'P-256': {
    curve: P256,
    prefix: [
      0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
      0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ],
    pointSizeBytes: 65,
  },
  'P-384': {
    curve: P384,
    prefix: [
      0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
      0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
    ],
    pointSizeBytes: 97,
  },
} as const;

/** The curve of a SubjectPublicKeyInfo with an uncompressed point; undefined for any other key or spelling. */
export function ecdsaCurveOf(spki: Uint8Array): EcdsaCurve | undefined {
  return (['P-256', 'P-384'] as const).find((name) => {
    const { prefix, pointSizeBytes } = CURVES[name];
    const fits = spki.length === prefix.length + pointSizeBytes && spki[prefix.length] === 0x04;
    return fits && prefix.every((octet, i) => spki[i] === octet);
  });
}

/**
 * ECDSA P-256 over a SHA-256 digest whose message is not at hand, which host crypto cannot do [FIPS186-5 §6.4.2]: key as DER
 * SubjectPublicKeyInfo, signature as DER. Answers false for anything malformed.
 */
export function verifyP256Digest(spki: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  return digest.length === 32 && verifyDigest('P-256', spki, digest, signature);
}

function verifyDigest(
  name: EcdsaCurve,
  spki: Uint8Array,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (ecdsaCurveOf(spki) !== name) return false;
  const { curve, prefix } = CURVES[name];
  return curve.verify(spki.subarray(prefix.length), digest, signature);
}

/** Hashing, as a host may give it. */
export type Hashes = Pick<Crypto, HashName>;

/** Signature checks in pure JavaScript over hashes of the host. They have no RSA. */
export function cryptoOver(hashes: Hashes): Crypto {
  return {
    sha256: (data) => hashes.sha256(data),
    sha384: (data) => hashes.sha384(data),
    sha512: (data) => hashes.sha512(data),
    verifyP256: (spki, data, signature) => verifyP256Digest(spki, hashes.sha256(data), signature),
    verifyP256Digest,
    verifyEcdsa: ({ curve, hash }, spki, data, signature) =>
      verifyDigest(curve, spki, hashes[hash](data), signature),
    verifyEd25519: (publicKey, data, signature) =>
      verifyEd25519(publicKey, data, signature, (hashed) => hashes.sha512(hashed)),
  };
}

/** Hashing in pure JavaScript. */
export const portableHashes: Hashes = { sha256, sha384, sha512 };

/** Pure JavaScript, for any ES2022 engine. It has no RSA. */
export const portableCrypto: Crypto = cryptoOver(portableHashes);
