// SPDX-License-Identifier: Apache-2.0
// RFC 3161 timestamps of the forge, each part of which may be made wrong while the signature over it is sound.

import { OID, sha256 } from '../../../registry/trust/certificate.ts';
import * as der from '../../../registry/trust/der.ts';
import { type Certified, NOW_MS, type Pair } from './forge.ts';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const TST_INFO = '1.2.840.113549.1.9.16.1.4';
const CONTENT_TYPE = '1.2.840.113549.1.9.3';
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SIGNING_CERTIFICATE_V2 = '1.2.840.113549.1.9.16.2.47';
const SHA256 = der.sequence(der.oid(OID.sha256));

/** What may be changed of a timestamp; each part is DER. */
export interface TimestampChange {
  readonly timeMs?: number;
  readonly genTime?: Uint8Array;
  readonly status?: number;
  readonly contentType?: string;
  readonly tstVersion?: number;
  readonly imprint?: Uint8Array;
  /** Content of TSTInfo after the time. */
  readonly more?: readonly Uint8Array[];
  readonly attributes?: (sound: readonly Uint8Array[]) => readonly Uint8Array[];
  /** Takes the place of the content after it was signed. */
  readonly swapped?: Uint8Array;
  readonly signedBy?: Pair;
  readonly signerInfos?: (sound: Uint8Array) => readonly Uint8Array[];
  readonly signerVersion?: number;
  readonly digestAlgorithm?: Uint8Array;
  readonly signatureAlgorithm?: Uint8Array;
  readonly cmsVersion?: number;
  readonly digestAlgorithms?: readonly Uint8Array[];
  readonly certificates?: readonly Uint8Array[];
}

export const attribute = (type: string, ...values: readonly Uint8Array[]): Uint8Array =>
  der.sequence(der.oid(type), der.setOf(...values));

/** The attribute that names a certificate by its SHA-256. */
export const namesCertificate = (certificate: Uint8Array): Uint8Array =>
  attribute(
    SIGNING_CERTIFICATE_V2,
    der.sequence(der.sequence(der.sequence(der.octetString(sha256(certificate))))),
  );

/** A DER TimeStampResp over these bytes. */
export function timestamp(
  tsa: Certified,
  issuerName: Uint8Array,
  dated: Uint8Array,
  change: TimestampChange = {},
): Uint8Array {
  const info = der.sequence(
    der.small(change.tstVersion ?? 1),
    der.oid('1.3.6.1.4.1.57264.2'),
    change.imprint ?? der.sequence(SHA256, der.octetString(sha256(dated))),
    der.small(77),
    change.genTime ?? der.generalizedTime(change.timeMs ?? NOW_MS),
    ...(change.more ?? []),
  );
  const sound = [
    attribute(CONTENT_TYPE, der.oid(TST_INFO)),
    attribute(MESSAGE_DIGEST, der.octetString(sha256(info))),
    namesCertificate(tsa.der),
  ];
  const attributes = der.setOf(...(change.attributes?.(sound) ?? sound));
  const signerInfo = der.sequence(
    der.small(change.signerVersion ?? 1),
    der.sequence(issuerName, der.unsigned(tsa.serial)),
    change.digestAlgorithm ?? SHA256,
    der.concat(Uint8Array.of(0xa0), attributes.subarray(1)),
    change.signatureAlgorithm ?? (change.signedBy ?? tsa.key).algorithm,
    der.octetString((change.signedBy ?? tsa.key).sign(attributes)),
  );
  const signedData = der.sequence(
    der.small(change.cmsVersion ?? 3),
    der.setOf(...(change.digestAlgorithms ?? [SHA256])),
    der.sequence(
      der.oid(change.contentType ?? TST_INFO),
      der.context(0, der.octetString(change.swapped ?? info)),
    ),
    ...(change.certificates === undefined ? [] : [der.context(0, ...change.certificates)]),
    der.tlv(0x31, ...(change.signerInfos?.(signerInfo) ?? [signerInfo])),
  );
  const token = der.sequence(der.oid(SIGNED_DATA), der.context(0, signedData));
  return der.sequence(der.sequence(der.small(change.status ?? 0)), token);
}
