// SPDX-License-Identifier: Apache-2.0
// Node's own cryptography behind core's interface: faster than the portable one, and the one here that checks RSA-PSS.

import { constants, createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { Crypto } from '../core/crypto.ts';

/** DER before the 32 bytes of an Ed25519 SubjectPublicKeyInfo [RFC8410 §4]. */
const ED25519_SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** A P-256 SubjectPublicKeyInfo with an uncompressed point, the one form that core takes [RFC5480 §2]. */
const P256_SPKI_BYTES = 91;
const RSA_BITS_MIN = 2048;

export const nodeCrypto: Crypto = {
  sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),

  verifyP256(spki, data, signature) {
    const key = spki.length === P256_SPKI_BYTES ? publicKey(spki) : undefined;
    if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return false;
    return holds(() => verify('sha256', data, key, signature));
  },

  verifyEd25519(raw, data, signature) {
    const key = raw.length === 32 ? publicKey(Buffer.concat([ED25519_SPKI_PREFIX, raw])) : undefined;
    return key !== undefined && holds(() => verify(null, data, key, signature));
  },

  verifyRsaPss(spki, data, signature) {
    const key = publicKey(spki);
    if (key?.asymmetricKeyType !== 'rsa') return false;
    if ((key.asymmetricKeyDetails?.modulusLength ?? 0) < RSA_BITS_MIN) return false;
    const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants;
    return holds(() => verify('sha256', data, { key, padding, saltLength }, signature));
  },
};

function publicKey(spki: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    // What OpenSSL cannot read is no key.
    return undefined;
  }
}

/** What OpenSSL cannot read is no signature either. */
function holds(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}
