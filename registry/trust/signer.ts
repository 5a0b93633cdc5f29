// SPDX-License-Identifier: Apache-2.0
// A P-256 signer: the one thing that the services need of their private keys, so that a key may live elsewhere.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** Signs with ECDSA P-256 over SHA-256 [FIPS186-5 §6.4]; signatures are DER [RFC3279 §2.2.3]. */
export interface P256Signer {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  sign(data: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Of a key that is not in this process: throws why it could not sign now. */
  readonly checkReachable?: () => Promise<void>;
}

/** A signer whose key is in this process. */
export interface LocalSigner extends P256Signer {
  sign(data: Uint8Array): Uint8Array;
}

/** A signer over a key in this process. @returns undefined if the PEM holds no P-256 private key */
export function signerFromPem(pem: string): LocalSigner | undefined {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return undefined;
  }
  return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? signerOf(key) : undefined;
}

/** A signer of checkpoints over a key in this process [RFC8032 §5.1.6]. @returns undefined if the PEM holds no Ed25519 private key */
export function signerFromEd25519Pem(pem: string): LocalSigner | undefined {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    return undefined;
  }
  return key.asymmetricKeyType === 'ed25519' ? signerOf(key, null) : undefined;
}

/** A new key with its PKCS#8 PEM. */
export function newSigner(): { readonly signer: LocalSigner; readonly pem: string } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return {
    signer: signerOf(privateKey),
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

function signerOf(key: KeyObject, digest: 'sha256' | null = 'sha256'): LocalSigner {
  return {
    spki: new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' })),
    sign: (data) => new Uint8Array(sign(digest, data, key)),
  };
}
