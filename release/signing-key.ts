// SPDX-License-Identifier: Apache-2.0
// A private key that somebody holds: in a file, or in a token that does not give it away. All that signing needs of it.

import { createPublicKey, type KeyObject, sign } from 'node:crypto';

/** Ed25519, or ECDSA P-256 over SHA-256 with signatures in DER [RFC3279 §2.2.3]. */
export interface SigningKey {
  readonly publicKey: KeyObject;
  sign(data: Uint8Array): Promise<Uint8Array>;
}

/** A key that is in this process. */
export function localKey(key: KeyObject): SigningKey {
  const digest = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  return {
    publicKey: createPublicKey(key),
    sign: async (data) => new Uint8Array(sign(digest, data, key)),
  };
}
