// SPDX-License-Identifier: Apache-2.0
// X.509 certificates as this registry issues them [RFC5280 §4], profiles of [Fulcio-certificates].

import { createHash, randomBytes } from 'node:crypto';
import * as der from './der.ts';
import type { P256Signer } from './signer.ts';

export const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  sha256: '2.16.840.1.101.3.4.2.1',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  ctPoison: '1.3.6.1.4.1.11129.2.4.3',
  ctSctList: '1.3.6.1.4.1.11129.2.4.2',
} as const;

/** AlgorithmIdentifier of all signatures made here; ECDSA has no parameters [RFC5758 §3.2]. */
export const ECDSA_SHA256 = der.sequence(der.oid(OID.ecdsaWithSha256));

/** One extension; `value` is the DER (or, for Fulcio's oldest six, raw) content of the octet string. */
export interface Extension {
  readonly oid: string;
  readonly critical?: true;
  readonly value: Uint8Array;
}

/** What a certificate says; times in milliseconds since 1970, both rounded down to seconds. */
export interface CertificateContent {
  /** DER Name. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly serial: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Each as it is, or as DER already. */
  readonly extensions: readonly (Extension | Uint8Array)[];
}

/** A positive random serial of exactly 160 bits, sign bit clear [RFC5280 §4.1.2.2]. */
export function randomSerial(): Uint8Array {
  const serial = new Uint8Array(randomBytes(20));
  serial[0] = ((serial[0] as number) & 0x7f) | 0x40;
  return serial;
}

/** DER TBSCertificate, the part that is signed. */
export function buildTbs(content: CertificateContent): Uint8Array {
  return der.sequence(
    der.context(0, der.small(2)),
    der.unsigned(content.serial),
    ECDSA_SHA256,
    content.issuer,
    der.sequence(der.certificateTime(content.notBeforeMs), der.certificateTime(content.notAfterMs)),
    content.subject,
    content.spki,
    der.context(
      3,
      der.sequence(
        ...content.extensions.map((each) => (each instanceof Uint8Array ? each : encodeExtension(each))),
      ),
    ),
  );
}

/** DER of one extension. */
export function encodeExtension({ oid, critical, value }: Extension): Uint8Array {
  return der.sequence(der.oid(oid), ...(critical ? [der.boolean(true)] : []), der.octetString(value));
}

/** Signs a TBSCertificate; returns the DER certificate. */
export async function signTbs(tbs: Uint8Array, signer: P256Signer): Promise<Uint8Array> {
  return der.sequence(tbs, ECDSA_SHA256, der.bitString(await signer.sign(tbs)));
}

/** A Name with exactly one organisation and one common name; Go clients rebuild it from these two. */
export function buildName(organization: string, commonName: string): Uint8Array {
  const attribute = (type: string, text: string): Uint8Array =>
    der.setOf(der.sequence(der.oid(type), der.utf8String(text)));
  return der.sequence(attribute(OID.organization, organization), attribute(OID.commonName, commonName));
}

/** The empty Name of leaf certificates. */
export const EMPTY_NAME = der.sequence();

/** SHA-256. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** The key identifier: leftmost 160 bits of the SHA-256 of the key [RFC7093 §2 method 1]. */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  // Every SPKI here is P-256: the bit string is the last 65 octets.
  return sha256(spki.subarray(spki.length - 65)).subarray(0, 20);
}

export const subjectKeyIdentifier = (spki: Uint8Array): Extension => ({
  oid: OID.subjectKeyIdentifier,
  value: der.octetString(keyIdentifier(spki)),
});

/** Names the issuer's key by the identifier that stands in the issuer's own certificate. */
export const authorityKeyIdentifier = (identifier: Uint8Array): Extension => ({
  oid: OID.authorityKeyIdentifier,
  value: der.sequence(der.contextPrimitive(0, identifier)),
});

/** Key usage as a bit string with its unused bits counted [X.690 §11.2.2]. */
export const keyUsage = (usage: 'digitalSignature' | 'certificates'): Extension => ({
  oid: OID.keyUsage,
  critical: true,
  // Bit 0; or bits 5 (keyCertSign) and 6 (cRLSign).
  value: der.tlv(0x03, usage === 'digitalSignature' ? Uint8Array.of(7, 0x80) : Uint8Array.of(1, 0x06)),
});

export const extendedKeyUsage = (purpose: string, critical?: true): Extension => ({
  oid: OID.extKeyUsage,
  ...(critical && { critical }),
  value: der.sequence(der.oid(purpose)),
});

/** Marks an authority; `pathLength` is how many authorities may follow below it. */
export const authorityConstraints = (pathLength: number): Extension => ({
  oid: OID.basicConstraints,
  critical: true,
  value: der.sequence(der.boolean(true), der.small(pathLength)),
});
