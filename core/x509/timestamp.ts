// SPDX-License-Identifier: Apache-2.0
// Timestamps [RFC3161 §2.4.2]: a TSTInfo in CMS SignedData [RFC5652 §5] with one signer, found in the trusted root by issuer and serial
// number. Certificates inside are not read: they are not signed.
// Stricter than [RFC3161 §2.4.2]: granted without modifications. Stricter than [RFC5652 §5]: DER throughout, one signer, signed
// attributes, no digest algorithm but the signer's; so every octet but certificates and unsigned attributes is signed or fixed. Stricter than [RFC5816 §2.2.1]: the signer's
// certificate is named by a hash of SHA-2; SHA-1 binds nothing.

import type { Crypto, HashName } from '../crypto.ts';
import { sameBytes } from '../tlog/merkle.ts';
import type { Certificate } from './certificate.ts';
import { contextTag, type DerNode, parseDer, type RefuseDer, TAG } from './der.ts';
import { X509 } from './faults.ts';
import { type Authority, isWithin, verifyPath } from './path.ts';
import {
  readHashAlgorithm,
  readSignatureAlgorithm,
  type SignatureAlgorithm,
  verifySignature,
} from './public-key.ts';

const OID = {
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** A parsed timestamp response. Unauthenticated. */
export interface Timestamp {
  /** DER TSTInfo. */
  readonly info: Uint8Array;
  /** Milliseconds since 1970, whole seconds. */
  readonly timeMs: number;
  /** What is dated, by hash; `hash` is undefined where it is not SHA-2. */
  readonly imprint: { readonly hash: HashName | undefined; readonly digest: Uint8Array };
  readonly signer: {
    /** DER Name. */
    readonly issuer: Uint8Array;
    /** Content of the INTEGER. */
    readonly serial: Uint8Array;
    readonly digestAlgorithm: HashName | undefined;
    /** DER of the attributes as the SET that is signed [RFC5652 §5.4]. */
    readonly attributes: Uint8Array;
    readonly messageDigest: Uint8Array;
    /** The first ESSCertIDv2; undefined if there is none. */
    readonly certificateId: { readonly hash: HashName | undefined; readonly digest: Uint8Array } | undefined;
    readonly algorithm: SignatureAlgorithm;
    readonly signature: Uint8Array;
  };
}

const refuse: RefuseDer = (message, at) => X509.reject('TIMESTAMP_MALFORMED', message, { at });

/** Parses a DER TimeStampResp. @throws TIMESTAMP_MALFORMED */
export function parseTimestamp(der: Uint8Array): Timestamp {
  const response = parseDer(der, refuse).members();
  const status = response.next().members().next();
  if (status.integer() !== 0) throw status.wrong('expected a timestamp that was granted as asked');
  const token = response.next().members();
  response.end();
  expectOid(token.next(), OID.signedData);
  const signedData = token.next(contextTag(0, 'constructed')).only().members();
  token.end();
  const version = signedData.next();
  // What is signed is not plain data, and no certificate is of a kind that asks for more [RFC5652 §5.1].
  if (version.integer() !== 3) throw version.wrong('expected version 3');
  const digestAlgorithms = signedData.next(TAG.set);
  const content = signedData.next().members();
  expectOid(content.next(), OID.tstInfo);
  const info = content.next(contextTag(0, 'constructed')).only().octets();
  content.end();
  signedData.optional(contextTag(0, 'constructed'));
  signedData.optional(contextTag(1, 'constructed'));
  const signers = signedData.next(TAG.set);
  signedData.end();
  const signer = readSigner(signers.only());
  if (readHashAlgorithm(digestAlgorithms.only()) !== signer.digestAlgorithm) {
    throw digestAlgorithms.wrong("expected the signer's digest algorithm alone");
  }
  return { info, ...readInfo(info), signer };
}

function expectOid(node: DerNode, expected: string): void {
  const got = node.oid();
  if (got !== expected) throw node.wrong(`expected ${expected}, got ${got}`);
}

/** TSTInfo [RFC3161 §2.4.2]. */
function readInfo(info: Uint8Array): Pick<Timestamp, 'timeMs' | 'imprint'> {
  const root = parseDer(info, (message, at) => refuse(message, `TSTInfo, ${at}`));
  const members = root.members();
  const version = members.next();
  if (version.integer() !== 1) throw version.wrong('expected version 1');
  members.next(TAG.oid);
  const imprint = members.next().members();
  const hash = readHashAlgorithm(imprint.next());
  const digest = imprint.next().octets();
  imprint.end();
  members.next(TAG.integer);
  const timeMs = members.next(TAG.generalizedTime).timeMs('fractions');
  members.optional(TAG.sequence);
  members.optional(TAG.boolean);
  members.optional(TAG.integer);
  members.optional(contextTag(0, 'constructed'));
  for (const extension of members.optional(contextTag(1, 'constructed'))?.children ?? []) {
    const parts = extension.members();
    const name = parts.next().oid();
    if (parts.optional(TAG.boolean)?.boolean() === true) {
      throw extension.wrong(`expected to know what is critical, got ${name}`);
    }
  }
  members.end();
  return { timeMs, imprint: { hash, digest } };
}

/** SignerInfo [RFC5652 §5.3] that names its certificate by issuer and serial number. */
function readSigner(node: DerNode): Timestamp['signer'] {
  const members = node.members();
  const version = members.next();
  if (version.integer() !== 1)
    throw version.wrong('expected version 1: a signer by issuer and serial number');
  const id = members.next().members();
  const issuer = id.next(TAG.sequence).der;
  const serial = id.next(TAG.integer).content;
  id.end();
  const digestAlgorithm = readHashAlgorithm(members.next());
  const signed = members.next(contextTag(0, 'constructed'));
  const attributes = signed.der.slice();
  attributes[0] = TAG.set;
  const byName = readAttributes(signed);
  const contentType = byName.get(OID.contentType);
  const messageDigest = byName.get(OID.messageDigest);
  if (contentType === undefined || messageDigest === undefined) {
    throw signed.wrong('expected content type and message digest among the signed attributes');
  }
  expectOid(contentType, OID.tstInfo);
  const algorithm = readSignatureAlgorithm(members.next());
  const signature = members.next().octets();
  members.optional(contextTag(1, 'constructed'));
  members.end();
  const certificateId = readCertificateId(byName.get(OID.signingCertificateV2));
  return {
    issuer,
    serial,
    digestAlgorithm,
    attributes,
    messageDigest: messageDigest.octets(),
    certificateId,
    algorithm,
    signature,
  };
}

/** The attributes with their one value each, none of them twice [RFC5652 §5.3, §11]. */
function readAttributes(signed: DerNode): ReadonlyMap<string, DerNode> {
  const found = new Map<string, DerNode>();
  for (const attribute of signed.children) {
    const members = attribute.members();
    const name = members.next().oid();
    const values = members.next(TAG.set);
    members.end();
    if (found.has(name)) throw attribute.wrong(`expected the attribute ${name} once, got it twice`);
    found.set(name, values.only());
  }
  return found;
}

/** The first ESSCertIDv2 of SigningCertificateV2 [RFC5816 §2.2.1]; SHA-256 unless another hash is named. */
function readCertificateId(attribute: DerNode | undefined): Timestamp['signer']['certificateId'] {
  if (attribute === undefined) return undefined;
  const id = attribute.members().next().members().next().members();
  const named = id.optional(TAG.sequence);
  const hash = named === undefined ? 'sha256' : readHashAlgorithm(named);
  return { hash, digest: id.next().octets() };
}

/** A trusted timestamp authority: its certificate, and the way from there to the anchor. */
export interface TimestampAuthority extends Authority {
  readonly certificate: Certificate;
}

/** A timestamp that a trusted authority made. */
export interface TimestampedBy<A extends TimestampAuthority> {
  /** Milliseconds since 1970, whole seconds. */
  readonly timeMs: number;
  readonly authority: A;
}

/**
 * Verifies that a listed authority dated these bytes.
 * @param at names the timestamp in messages: JSON pointer
 * @throws TIMESTAMP_AUTHORITY_UNKNOWN, TIMESTAMP_SIGNATURE_INVALID, TIMESTAMP_SIGNER_UNBOUND, TIMESTAMP_SUBJECT_MISMATCH, and the
 *   codes of `verifyPath`; of several authorities that fit by name, of the last
 */
export function verifyTimestamp<A extends TimestampAuthority>(
  timestamp: Timestamp,
  dated: Uint8Array,
  authorities: readonly A[],
  crypto: Crypto,
  at: string,
): TimestampedBy<A> {
  const { issuer, serial } = timestamp.signer;
  let failure: unknown;
  for (const authority of authorities) {
    const { certificate, issuers, validFor } = authority;
    if (!isWithin(validFor, timestamp.timeMs)) continue;
    if (!sameBytes(certificate.issuer, issuer) || !sameBytes(certificate.serial, serial)) continue;
    try {
      verifySigned(timestamp, certificate, crypto, at);
      checkImprint(timestamp, dated, crypto, at);
      const timesMs = [timestamp.timeMs] as const;
      verifyPath({ leaf: certificate, issuers, purpose: 'timeStamping', timesMs, at }, crypto);
      return { timeMs: timestamp.timeMs, authority };
    } catch (refusal) {
      failure = refusal;
    }
  }
  throw failure ?? unknownAuthority(at);
}

function unknownAuthority(at: string) {
  return X509.reject(
    'TIMESTAMP_AUTHORITY_UNKNOWN',
    'expected a timestamp by an authority that the trusted root names for that time, got one of another',
    { at },
  );
}

/** The signature covers the attributes, the attributes cover the content and name the certificate. */
function verifySigned(timestamp: Timestamp, certificate: Certificate, crypto: Crypto, at: string): void {
  const { attributes, messageDigest, digestAlgorithm, certificateId, algorithm, signature } =
    timestamp.signer;
  const invalid = (message: string) => X509.reject('TIMESTAMP_SIGNATURE_INVALID', message, { at });
  if (digestAlgorithm === undefined) throw invalid('expected a message digest of SHA-2');
  if (!sameBytes(crypto[digestAlgorithm](timestamp.info), messageDigest)) {
    throw invalid('expected the content that was signed, got another');
  }
  if (!verifySignature({ key: certificate.publicKey, algorithm, data: attributes, signature }, crypto)) {
    throw invalid('expected the signature of the authority that it names, got another');
  }
  const named = certificateId?.hash === undefined ? undefined : crypto[certificateId.hash](certificate.der);
  if (named === undefined || !sameBytes(named, certificateId?.digest as Uint8Array)) {
    throw X509.reject(
      'TIMESTAMP_SIGNER_UNBOUND',
      "expected the authority's certificate named by its hash, got none or another",
      { at },
    );
  }
}

function checkImprint({ imprint }: Timestamp, dated: Uint8Array, crypto: Crypto, at: string): void {
  if (imprint.hash !== undefined && sameBytes(crypto[imprint.hash](dated), imprint.digest)) return;
  throw X509.reject(
    'TIMESTAMP_SUBJECT_MISMATCH',
    "expected a timestamp over the bundle's signature, got one over something else",
    { at },
  );
}
