// SPDX-License-Identifier: Apache-2.0
// Timestamps [RFC3161 §2.4.2]: TSTInfo signed as CMS SignedData [RFC5652 §5] with the signer's certificate named by hash
// [RFC5816 §2.2.1], in DER throughout.

import { type Authority, checkAuthorityTime } from '../trust/authority.ts';
import { ECDSA_SHA256, OID, randomSerial, sha256 } from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import { TIMESTAMP_POLICY, type TimestampRequest } from './timestamp-request.ts';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
/** The type of what a timestamp says [RFC3161 §2.4.2]. */
export const TST_INFO = '1.2.840.113549.1.9.16.1.4';
/** Types of the attributes that are signed. */
export const ATTRIBUTE = {
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** SHA-256 without parameters [RFC5754 §2]. */
const SHA256 = der.sequence(der.oid(OID.sha256));
/** SHA-256 as message imprints traditionally name it, with a NULL. */
const IMPRINT_SHA256 = der.sequence(der.oid(OID.sha256), der.tlv(0x05));

/** Why a request was refused [RFC3161 §2.4.2 PKIFailureInfo], as bit numbers. */
export const FAILURE_BIT = {
  badAlg: 0,
  badDataFormat: 5,
  unacceptedPolicy: 15,
  unacceptedExtension: 16,
} as const;

/**
 * Makes a timestamp at `nowMs`. The time is in whole seconds, rounded down, with an accuracy of one second: other fractions
 * than milliseconds break known clients.
 * @returns DER TimeStampResp with status granted @throws CA_CHAIN_NOT_VALID
 */
export async function makeTimestamp(
  authority: Authority,
  request: TimestampRequest,
  nowMs: number,
): Promise<Uint8Array> {
  checkAuthorityTime(authority, nowMs);
  const info = der.sequence(
    der.small(1),
    der.oid(TIMESTAMP_POLICY),
    der.sequence(IMPRINT_SHA256, der.octetString(request.digest)),
    der.unsigned(randomSerial()),
    der.generalizedTime(nowMs),
    der.sequence(der.small(1)),
    ...(request.nonce === undefined ? [] : [der.tlv(0x02, request.nonce)]),
  );
  const token = der.sequence(
    der.oid(SIGNED_DATA),
    der.context(0, await signedData(authority, info, request.withCertificates)),
  );
  return der.sequence(der.sequence(der.small(0)), token);
}

/** Refuses a request in the protocol's own words. @returns DER TimeStampResp with status rejection and no token */
export function refuseTimestamp(reason: keyof typeof FAILURE_BIT, text: string): Uint8Array {
  const bit = FAILURE_BIT[reason];
  const bits = new Uint8Array(Math.floor(bit / 8) + 1);
  bits[bits.length - 1] = 0x80 >> (bit % 8);
  return der.sequence(
    der.sequence(
      der.small(2),
      der.sequence(der.utf8String(text)),
      // The last bit set is the last bit there [X.690 §11.2.2].
      der.tlv(0x03, Uint8Array.of(7 - (bit % 8)), bits),
    ),
  );
}

async function signedData(
  authority: Authority,
  info: Uint8Array,
  withCertificates: boolean,
): Promise<Uint8Array> {
  const { certificate, chain, signer } = authority;
  const [own] = chain as [Uint8Array];
  const serial = der.tlv(0x02, certificate.serial);
  // Issuer and serial repeat what the hash already fixes; verifiers that look for them find the same certificate.
  const generalNames = der.sequence(der.context(4, certificate.issuer));
  const certificateId = der.sequence(der.octetString(sha256(own)), der.sequence(generalNames, serial));
  const attribute = (type: string, value: Uint8Array): Uint8Array =>
    der.sequence(der.oid(type), der.setOf(value));
  const attributes = der.setOf(
    attribute(ATTRIBUTE.contentType, der.oid(TST_INFO)),
    attribute(ATTRIBUTE.messageDigest, der.octetString(sha256(info))),
    attribute(ATTRIBUTE.signingCertificateV2, der.sequence(der.sequence(certificateId))),
  );
  const signerInfo = der.sequence(
    der.small(1),
    der.sequence(certificate.issuer, serial),
    SHA256,
    // Signed as a SET, sent under an implicit tag [RFC5652 §5.4].
    implicitly(0, attributes),
    ECDSA_SHA256,
    der.octetString(await signer.sign(attributes)),
  );
  return der.sequence(
    der.small(3),
    der.setOf(SHA256),
    der.sequence(der.oid(TST_INFO), der.context(0, der.octetString(info))),
    // A set too [RFC5652 §10.2.3], so DER fixes the order; sigstore-python's parser minds.
    ...(withCertificates ? [implicitly(0, der.setOf(...chain))] : []),
    der.setOf(signerInfo),
  );
}

/** A SET under an implicit tag instead of its own. */
const implicitly = (tag: number, set: Uint8Array): Uint8Array =>
  der.concat(Uint8Array.of(0xa0 | tag), set.subarray(1));
