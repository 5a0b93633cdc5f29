// SPDX-License-Identifier: Apache-2.0
// Node's cryptography behind core's interface [docs/architecture.md §Admission to core]: native speed, and RSA, which the portable one has not.

import { constants, createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Crypto, ecdsaCurveOf, type HashName } from '../core/crypto.ts';

/** DER before the 32 octets of an Ed25519 SubjectPublicKeyInfo [RFC8410 §4]. */
const ED25519_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** Keys of authorities and logs come again with every bundle; those of signers do not, and push one another out. */
const KEYS = new Map<string, KeyObject>();
const KEY_COUNT_MAX = 64;

function openKey(spki: Uint8Array): KeyObject {
  const name = Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength).toString('latin1');
  const known = KEYS.get(name);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  if (KEYS.size >= KEY_COUNT_MAX) KEYS.delete(KEYS.keys().next().value as string);
  KEYS.set(name, key);
  return key;
}

const digest = (hash: HashName) => (data: Uint8Array) =>
  new Uint8Array(createHash(hash).update(data).digest());

/** False for anything that OpenSSL cannot read. */
function isSigned(
  hash: HashName | null,
  spki: Uint8Array,
  kind: string,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    const key = openKey(spki);
    return key.asymmetricKeyType === kind && verify(hash, data, key, signature);
  } catch {
    return false;
  }
}

/** Shorter keys are no longer believed. */
const RSA_BITS_MIN = 2048;
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };

/** For hosts that run Node. */
export const nodeCrypto: Crypto = {
  sha256: digest('sha256'),
  sha384: digest('sha384'),
  sha512: digest('sha512'),
  verifyP256: (spki, data, signature) =>
    ecdsaCurveOf(spki) === 'P-256' && isSigned('sha256', spki, 'ec', data, signature),
  verifyEcdsa: ({ curve, hash }, spki, data, signature) =>
    ecdsaCurveOf(spki) === curve && isSigned(hash, spki, 'ec', data, signature),
  verifyEd25519: (publicKey, data, signature) =>
    publicKey.length === 32 &&
    isSigned(null, Buffer.concat([ED25519_PREFIX, publicKey]), 'ed25519', data, signature),
  verifyRsaPss(spki, data, signature) {
    try {
      const key = openKey(spki);
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      if (key.asymmetricKeyType !== 'rsa' || bits < RSA_BITS_MIN) return false;
      return verify('sha256', data, { key, ...PSS }, signature);
    } catch {
      return false;
    }
  },
  verifyRsaPkcs1: (hash, spki, data, signature) => isSigned(hash, spki, 'rsa', data, signature),
};
