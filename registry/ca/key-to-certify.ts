// SPDX-License-Identifier: Apache-2.0
// The public key of a certificate request, and the proof that the asker holds its private half: a signature over the token's
// challenge, its subject or e-mail address [Fulcio-API-v2 §CreateSigningCertificateRequest], or a PKCS#10 request signed by the key [RFC2986 §4].

import { type KeyObject, verify } from 'node:crypto';
import { base64Decode } from '../../core/encoding/base64.ts';
import { utf8Encode } from '../../core/encoding/utf8.ts';
import { contextTag, parseDer, type RefuseDer, TAG } from '../../core/x509/der.ts';
import { OID } from '../trust/certificate.ts';
import { readP256Key } from '../trust/p256-key.ts';
import { TRUST } from '../trust-faults.ts';

/** A key whose possession was proved. */
export interface ProvedKey {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly key: KeyObject;
}

/**
 * The key of the form that sends key and proof apart.
 * @throws CA_KEY_UNSUPPORTED, CA_PROOF_WRONG
 */
export function provedKey(
  request: { readonly publicKeyPem: string; readonly proof: string },
  challenge: string,
): ProvedKey {
  const match = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(
    request.publicKeyPem,
  );
  const spki = base64Decode((match?.[1] ?? '').replace(/\s/g, '')) ?? new Uint8Array();
  const key = p256Key(spki);
  const proof = base64Decode(request.proof);
  const message = utf8Encode(challenge);
  const proved =
    proof !== undefined && proof.length > 0 && message !== undefined && verify('sha256', message, key, proof);
  if (!proved) {
    throw TRUST.reject(
      'CA_PROOF_WRONG',
      'expected a signature over the challenge of the token by the key to certify',
    );
  }
  return { spki, key };
}

/**
 * The key of a signing request. Subject and attributes of the request are ignored: what the certificate says comes from the token.
 * @param csr base64 of the PEM request, as Python's client sends it
 * @throws CA_CSR_MALFORMED, CA_KEY_UNSUPPORTED, CA_CSR_SIGNATURE_WRONG
 */
export function requestedKey(csr: string): ProvedKey {
  const pem = Buffer.from(base64Decode(csr) ?? []).toString('latin1');
  const match =
    /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/.exec(
      pem,
    );
  const request = parseRequest(base64Decode((match?.[1] ?? '').replace(/\s/g, '')) ?? new Uint8Array());
  const key = p256Key(request.spki);
  if (!verify('sha256', request.signed, key, request.signature)) {
    throw TRUST.reject(
      'CA_CSR_SIGNATURE_WRONG',
      'expected a request signed by the key that it asks to certify',
    );
  }
  return { spki: request.spki, key };
}

const refuseRequest: RefuseDer = (message, at) =>
  TRUST.reject(
    'CA_CSR_MALFORMED',
    `expected the base64 of a PEM PKCS#10 request signed with ECDSA and SHA-256: ${message}`,
    { at },
  );

/** A CertificationRequest [RFC2986 §4.2]. */
function parseRequest(der: Uint8Array): {
  readonly signed: Uint8Array;
  readonly spki: Uint8Array;
  readonly signature: Uint8Array;
} {
  const request = parseDer(der, refuseRequest).members();
  const info = request.next();
  const algorithm = request.next().members();
  const signedWith = algorithm.next();
  if (signedWith.oid() !== OID.ecdsaWithSha256)
    throw signedWith.wrong('expected that algorithm, got another');
  algorithm.end();
  const signature = request.next().bitStringOctets();
  request.end();
  const members = info.members();
  const version = members.next();
  if (version.integer() !== 0) throw version.wrong('expected version 1');
  members.next(TAG.sequence);
  const spki = members.next(TAG.sequence).der;
  members.optional(contextTag(0, 'constructed'));
  members.end();
  return { signed: info.der, spki, signature };
}

/** @throws CA_KEY_UNSUPPORTED */
function p256Key(spki: Uint8Array): KeyObject {
  const key = readP256Key(spki);
  if (key !== undefined) return key;
  throw TRUST.reject(
    'CA_KEY_UNSUPPORTED',
    `expected an ECDSA P-256 public key of 91 octets, got ${spki.length} octets`,
  );
}
