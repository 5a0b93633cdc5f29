// SPDX-License-Identifier: Apache-2.0
// A managed signing key (the gate's): ECDSA P-256 in PKCS#8 PEM [RFC5958 §2] [RFC7468 §10].

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { ATTEST } from '../faults.ts';

/** A signing key, wherever it is: in this process, in a token, with a service. */
export interface StatementKey {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** Lower-case hex SHA-256 of `publicKey`: the hint by which verifiers find the key. */
  readonly hint: string;
  /** ECDSA over SHA-256, DER signature. */
  sign(data: Uint8Array): Uint8Array | Promise<Uint8Array>;
}

/** Signs with a key that never leaves this object. */
export interface ManagedKey extends StatementKey {
  sign(data: Uint8Array): Uint8Array;
}

/** Opens a private key. @throws IDENTITY_KEY_UNSUITABLE */
export function openManagedKey(privateKeyPem: string | Uint8Array): ManagedKey {
  const key = parsePrivateKey(Buffer.from(privateKeyPem));
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));
  return {
    publicKey,
    hint: keyHint(publicKey),
    sign: (data) => new Uint8Array(sign('sha256', data, key)),
  };
}

/** The hint of a public key given as DER SubjectPublicKeyInfo. */
export function keyHint(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

function parsePrivateKey(pem: Buffer): KeyObject {
  let key: KeyObject | undefined;
  try {
    if (pem.toString('latin1').includes('-----BEGIN PRIVATE KEY-----')) key = createPrivateKey(pem);
  } catch {
    // The parser's own message may quote the file; ours must not.
  }
  if (key?.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  const got = key === undefined ? 'something else' : `a key of type ${key.asymmetricKeyType}`;
  throw ATTEST.reject('IDENTITY_KEY_UNSUITABLE', `expected an ECDSA P-256 key in PKCS#8 PEM, got ${got}`);
}
