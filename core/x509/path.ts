// SPDX-License-Identifier: Apache-2.0
// Path validation [RFC5280 §6.1] from a signer's certificate to the self-signed anchor of a listed authority, as code signing
// [Fulcio-certificates] and timestamps [RFC3161 §2.3] need it. What [RFC5280 §6.1] has besides is refused where it is critical:
// policies, name constraints. Stricter than [RFC5280 §6.1]: names and key identifiers are equal byte for byte, key usage is
// there in every certificate, authorities are valid at the time of signing too, the anchor among them, and its own limits count.

import type { Crypto } from '../crypto.ts';
import { formatInstant } from '../encoding/document.ts';
import { several } from '../faults.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { type Certificate, EXTENSION, KEY_USAGE } from './certificate.ts';
import { X509 } from './faults.ts';
import { verifySignature } from './public-key.ts';

/** A period of trust, both ends included; milliseconds since 1970. */
export interface Validity {
  readonly startMs: number;
  /** Absent while it lasts. */
  readonly endMs?: number;
}

/** True if the period includes the time. */
export function isWithin(validity: Validity, timeMs: number): boolean {
  return validity.startMs <= timeMs && (validity.endMs === undefined || timeMs <= validity.endMs);
}

/** A trusted authority and when it is trusted. */
export interface Authority {
  /** In issuing order, a self-signed one last. */
  readonly issuers: readonly Certificate[];
  readonly validFor: Validity;
}

/** What the signer's certificate is for. */
export type Purpose = 'codeSigning' | 'timeStamping';

const PURPOSES = { codeSigning: '1.3.6.1.5.5.7.3.3', timeStamping: '1.3.6.1.5.5.7.3.8' } as const;
const ANY_PURPOSE = '2.5.29.37.0';

/** Times of signing, milliseconds since 1970: never none, since a certificate without a time is valid whenever one likes. */
export type Times = readonly [number, ...number[]];

export interface PathQuestion {
  readonly leaf: Certificate;
  /** Issuer of the leaf first, anchor last. */
  readonly issuers: readonly Certificate[];
  readonly purpose: Purpose;
  /** The leaf and all above it are valid at each of these times. */
  readonly timesMs: Times;
  /** Names the leaf in messages: JSON pointer. */
  readonly at: string;
}

/**
 * Verifies one path. The signature of a certificate is verified once, however many paths it is part of.
 * @throws X509_ISSUER_UNKNOWN, X509_ALGORITHM_UNSUPPORTED, X509_SIGNATURE_INVALID, X509_AUTHORITY_UNFIT, X509_EXTENSION_UNKNOWN,
 *   X509_USAGE_FORBIDDEN, X509_TIME_OUTSIDE_VALIDITY
 */
export function verifyPath(question: PathQuestion, crypto: Crypto): void {
  const { leaf, issuers, purpose, timesMs, at } = question;
  const [issuer] = issuers;
  if (issuer === undefined || !isNamed(leaf, issuer)) throw unknownIssuer(at);
  verifyIssued(leaf, issuer, crypto, at);
  issuers.forEach((certificate, i) => {
    // The anchor is its own issuer.
    const above = issuers[i + 1] ?? certificate;
    if (!isNamed(certificate, above)) throw unknownIssuer(`${at}, issuer ${i + 1}`);
    verifyIssued(certificate, above, crypto, `${at}, issuer ${i + 1}`);
  });
  for (const [i, certificate] of issuers.entries()) {
    checkAuthority(certificate, i, purpose, `${at}, issuer ${i + 1}`);
  }
  checkLeaf(leaf, purpose, at);
  for (const [i, certificate] of [leaf, ...issuers].entries()) {
    const place = i === 0 ? at : `${at}, issuer ${i}`;
    for (const timeMs of timesMs) checkTime(certificate, timeMs, place);
  }
}

/** True if the certificate names the issuer by name, and by key identifier where both have one. */
export function isNamed(certificate: Certificate, issuer: Certificate): boolean {
  const { authorityKeyId } = certificate;
  const { subjectKeyId } = issuer;
  return (
    sameBytes(certificate.issuer, issuer.subject) &&
    (authorityKeyId === undefined || subjectKeyId === undefined || sameBytes(authorityKeyId, subjectKeyId))
  );
}

/** The fault of a certificate that leads to nobody who is trusted. */
export function unknownIssuer(at: string) {
  return X509.reject(
    'X509_ISSUER_UNKNOWN',
    'expected a certificate of an authority that the trusted root names for the time of signing, got one of another',
    { at },
  );
}

/** Certificates whose signature was verified, with whose key and by whom: those of authorities come again with every bundle. */
const soundCertificates = new WeakMap<
  Certificate,
  { readonly issuer: Certificate; readonly crypto: Crypto }
>();

function verifyIssued(certificate: Certificate, issuer: Certificate, crypto: Crypto, at: string): void {
  const known = soundCertificates.get(certificate);
  if (known?.issuer === issuer && known.crypto === crypto) return;
  const { tbs: data, signature, algorithm } = certificate;
  if (verifySignature({ key: issuer.publicKey, algorithm, data, signature }, crypto)) {
    soundCertificates.set(certificate, { issuer, crypto });
    return;
  }
  throw X509.reject(
    'X509_SIGNATURE_INVALID',
    "expected a certificate signed by its issuer's key, got another signature",
    { at },
  );
}

function checkAuthority(certificate: Certificate, below: number, purpose: Purpose, at: string): void {
  const { constraints, keyUsage, purposes } = certificate;
  const unfit = (message: string) => X509.reject('X509_AUTHORITY_UNFIT', message, { at });
  if (constraints?.isAuthority !== true)
    throw unfit('expected a certificate of an authority, got one of an end entity');
  if (keyUsage?.includes(KEY_USAGE.keyCertSign) !== true) {
    throw unfit('expected the key usage keyCertSign, found none');
  }
  const { pathLength } = constraints;
  if (pathLength !== undefined && below > pathLength) {
    throw unfit(`expected at most ${pathLength} authorities below, got ${below}`);
  }
  const allowed = purposes?.some((name) => name === PURPOSES[purpose] || name === ANY_PURPOSE) ?? true;
  if (!allowed) throw unfit(`expected an authority for ${purpose}, got one for ${several(purposes ?? [])}`);
  checkCritical(certificate, at);
}

/** Timestamps need the one purpose, critical [RFC3161 §2.3]. */
function checkLeaf(leaf: Certificate, purpose: Purpose, at: string): void {
  const { constraints, keyUsage, purposes, extensions } = leaf;
  const forbidden = (message: string) => X509.reject('X509_USAGE_FORBIDDEN', message, { at });
  if (constraints?.isAuthority === true)
    throw forbidden('expected a certificate of an end entity, got one of an authority');
  const signs =
    keyUsage?.includes(KEY_USAGE.digitalSignature) === true ||
    (purpose === 'timeStamping' && keyUsage?.includes(KEY_USAGE.contentCommitment) === true);
  if (!signs) throw forbidden('expected the key usage digitalSignature, found none');
  if (purposes?.includes(PURPOSES[purpose]) !== true) {
    throw forbidden(`expected the purpose ${purpose}, got ${several(purposes ?? []) || 'none'}`);
  }
  if (purpose === 'timeStamping') {
    if (purposes.length > 1)
      throw forbidden(`expected the purpose ${purpose} alone, got ${several(purposes)}`);
    if (extensions.get(EXTENSION.extKeyUsage)?.critical !== true) {
      throw forbidden(`expected the purpose ${purpose} to be critical`);
    }
  }
  checkCritical(leaf, at);
}

const UNDERSTOOD: readonly string[] = Object.values(EXTENSION);

function checkCritical({ extensions }: Certificate, at: string): void {
  for (const [name, { critical }] of extensions) {
    if (critical && !UNDERSTOOD.includes(name)) {
      throw X509.reject('X509_EXTENSION_UNKNOWN', `expected to know what is critical, got ${name}`, { at });
    }
  }
}

function checkTime({ notBeforeMs, notAfterMs }: Certificate, timeMs: number, at: string): void {
  if (notBeforeMs <= timeMs && timeMs <= notAfterMs) return;
  throw X509.reject(
    'X509_TIME_OUTSIDE_VALIDITY',
    `expected a time of signing from ${formatInstant(notBeforeMs)} to ${formatInstant(notAfterMs)}, got ` +
      formatInstant(timeMs),
    { at },
  );
}

/**
 * Finds the listed authority that issued a certificate and was trusted at each of the times, and verifies the path to it.
 * @returns the issuers, the leaf's own first @throws what `verifyPath` throws; of several authorities that fit by name, of the last
 */
export function verifyCertificate(
  question: Omit<PathQuestion, 'issuers'>,
  authorities: readonly Authority[],
  crypto: Crypto,
): readonly Certificate[] {
  const { leaf, timesMs, at } = question;
  let failure: unknown;
  for (const { issuers, validFor } of authorities) {
    const [issuer] = issuers;
    if (issuer === undefined || !isNamed(leaf, issuer)) continue;
    if (!timesMs.every((timeMs) => isWithin(validFor, timeMs))) continue;
    try {
      verifyPath({ ...question, issuers }, crypto);
      return issuers;
    } catch (refusal) {
      failure = refusal;
    }
  }
  throw failure ?? unknownIssuer(at);
}
