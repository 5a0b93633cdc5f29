// SPDX-License-Identifier: Apache-2.0
// Keys [RFC5280 §4.1.2.7] [RFC5480 §2] [RFC8410 §3] and signature algorithms [RFC5758 §3.2] [RFC8410 §6] [RFC4055 §5] of
// certificates, and the check of a signature with both. RSA is verified where the host gives it.

import { type Crypto, type EcdsaCurve, ecdsaCurveOf, type HashName } from '../crypto.ts';
import { quote } from '../faults.ts';
import { type DerMembers, type DerNode, parseDer, type RefuseDer, TAG } from './der.ts';
import { X509 } from './faults.ts';

/** A public key; `spki` is its DER SubjectPublicKeyInfo. */
export type PublicKey =
  | { readonly kind: 'ecdsa'; readonly curve: EcdsaCurve; readonly spki: Uint8Array }
  | { readonly kind: 'ed25519'; readonly spki: Uint8Array; readonly raw: Uint8Array }
  | { readonly kind: 'rsa'; readonly spki: Uint8Array }
  | { readonly kind: 'other'; readonly spki: Uint8Array; readonly name: string };

/** How something was signed. */
export type SignatureAlgorithm =
  | { readonly kind: 'ecdsa' | 'rsa'; readonly hash: HashName }
  | { readonly kind: 'ed25519' }
  | { readonly kind: 'other'; readonly name: string };

const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const ED25519 = '1.3.101.112';

const SIGNATURE_ALGORITHMS: Readonly<Record<string, SignatureAlgorithm>> = {
  '1.2.840.10045.4.3.2': { kind: 'ecdsa', hash: 'sha256' },
  '1.2.840.10045.4.3.3': { kind: 'ecdsa', hash: 'sha384' },
  '1.2.840.10045.4.3.4': { kind: 'ecdsa', hash: 'sha512' },
  '1.2.840.113549.1.1.11': { kind: 'rsa', hash: 'sha256' },
  '1.2.840.113549.1.1.12': { kind: 'rsa', hash: 'sha384' },
  '1.2.840.113549.1.1.13': { kind: 'rsa', hash: 'sha512' },
  [ED25519]: { kind: 'ed25519' },
};

const HASH_ALGORITHMS: Readonly<Record<string, HashName>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** An AlgorithmIdentifier: the object identifier, its parameters unread. */
function identifierOf(node: DerNode): { name: string; parameters: DerMembers } {
  const parameters = node.members();
  return { name: parameters.next().oid(), parameters };
}

/** Reads a signature's AlgorithmIdentifier; ECDSA and Ed25519 have no parameters, RSA a NULL. @throws the document's fault */
export function readSignatureAlgorithm(node: DerNode): SignatureAlgorithm {
  const { name, parameters } = identifierOf(node);
  const known = SIGNATURE_ALGORITHMS[name];
  if (known === undefined) return { kind: 'other', name };
  if (known.kind === 'rsa') parameters.next(TAG.null);
  parameters.end();
  return known;
}

/** Reads the AlgorithmIdentifier of a hash, with or without NULL [RFC5754 §2]; undefined for what is not SHA-2. @throws the document's fault */
export function readHashAlgorithm(node: DerNode): HashName | undefined {
  const { name, parameters } = identifierOf(node);
  const known = HASH_ALGORITHMS[name];
  if (known !== undefined) {
    parameters.optional(TAG.null);
    parameters.end();
  }
  return known;
}

/** Reads a SubjectPublicKeyInfo. Keys of kinds unknown here are kept unread. @throws the document's fault */
export function readPublicKey(node: DerNode): PublicKey {
  const members = node.members();
  const { name, parameters } = identifierOf(members.next());
  const key = members.next(TAG.bitString);
  members.end();
  const spki = node.der;
  if (name === EC_PUBLIC_KEY) {
    const curve = ecdsaCurveOf(spki);
    return curve === undefined ? { kind: 'other', spki, name } : { kind: 'ecdsa', curve, spki };
  }
  if (name === ED25519) {
    const raw = key.bitStringOctets();
    parameters.end();
    if (raw.length !== 32) throw key.wrong(`expected an Ed25519 key of 32 bytes, got ${raw.length}`);
    return { kind: 'ed25519', spki, raw };
  }
  return name === RSA_ENCRYPTION ? { kind: 'rsa', spki } : { kind: 'other', spki, name };
}

/** Parses a DER SubjectPublicKeyInfo. @throws the fault that `refuse` makes */
export function parsePublicKey(spki: Uint8Array, refuse: RefuseDer): PublicKey {
  return readPublicKey(parseDer(spki, refuse));
}

/** What was signed, with what. */
export interface SignedData {
  readonly key: PublicKey;
  readonly algorithm: SignatureAlgorithm;
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
}

/** Verifies a signature; false if it does not fit. @throws X509_ALGORITHM_UNSUPPORTED */
export function verifySignature({ key, algorithm, data, signature }: SignedData, crypto: Crypto): boolean {
  if (key.kind === 'ecdsa' && algorithm.kind === 'ecdsa') {
    const { curve } = key;
    return crypto.verifyEcdsa({ curve, hash: algorithm.hash }, key.spki, data, signature);
  }
  if (key.kind === 'ed25519' && algorithm.kind === 'ed25519') {
    return crypto.verifyEd25519(key.raw, data, signature);
  }
  if (key.kind === 'rsa' && algorithm.kind === 'rsa' && crypto.verifyRsaPkcs1 !== undefined) {
    return crypto.verifyRsaPkcs1(algorithm.hash, key.spki, data, signature);
  }
  const inWords = (one: SignatureAlgorithm | PublicKey) =>
    one.kind === 'other' ? quote(one.name) : one.kind;
  throw X509.reject(
    'X509_ALGORITHM_UNSUPPORTED',
    `expected a signature that can be checked here, got ${inWords(algorithm)} under a key of the kind ${inWords(key)}`,
  );
}
