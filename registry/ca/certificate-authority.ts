// SPDX-License-Identifier: Apache-2.0
// Issuing of leaf certificates [Fulcio-certificates §Issued Certificate]: precertificate, entry in the
// transparency log, certificate with its SCT [RFC6962 §3.1, §3.3].

import type { KeyObject } from 'node:crypto';
import type { CtLog } from '../ct/ct-log.ts';
import { sctListExtension } from '../ct/structures.ts';
import { type Authority, checkAuthorityTime, formatPem } from '../trust/authority.ts';
import {
  authorityKeyIdentifier,
  buildTbs,
  EMPTY_NAME,
  type Extension,
  encodeExtension,
  extendedKeyUsage,
  keyUsage,
  OID,
  randomSerial,
  sha256,
  signTbs,
  subjectKeyIdentifier,
} from '../trust/certificate.ts';
import * as der from '../trust/der.ts';
import type { Identity } from './identity.ts';
import type { ProvedKey } from './key-to-certify.ts';

/** How long a certificate lives: long enough to sign once, too short to be worth stealing. */
export const LEAF_LIFE_MS = 10 * 60_000;

/** Choices of GeneralName: rfc822Name, uniformResourceIdentifier [RFC5280 §4.2.1.6]. */
const NAME_FORM = { email: 1, uri: 6 } as const;

/** What issuing needs. */
export interface Issuance {
  readonly authority: Authority;
  readonly ctLog: CtLog;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Told of each certificate that is issued. */
  readonly issued?: (certificate: IssuedCertificate) => void;
}

/** A leaf certificate that was just signed here. */
export interface IssuedCertificate {
  /** DER. */
  readonly der: Uint8Array;
  readonly key: KeyObject;
  /** DER of the authorities, its issuer first. */
  readonly chain: readonly Uint8Array[];
}

/**
 * Issues a certificate for a key whose possession was proved, in the name that a verified token proves.
 * @returns PEM, the leaf first, the root last @throws CA_CHAIN_NOT_VALID, LOG_BUSY, LOG_CLOSED, LOG_STORE_FAILED
 */
export async function issueCertificate(
  { authority, ctLog, clock, issued }: Issuance,
  identity: Identity,
  { spki, key }: ProvedKey,
): Promise<readonly string[]> {
  const issuedMs = Math.floor(clock());
  const notBeforeMs = Math.floor(issuedMs / 1000) * 1000;
  const notAfterMs = notBeforeMs + LEAF_LIFE_MS;
  checkAuthorityTime(authority, notBeforeMs, notAfterMs);
  const { certificate, signer, chain } = authority;
  const extensions: readonly Extension[] = [
    keyUsage('digitalSignature'),
    extendedKeyUsage(OID.codeSigning),
    subjectKeyIdentifier(spki),
    authorityKeyIdentifier(certificate.keyIdentifier),
    // Critical, since the subject is empty [RFC5280 §4.2.1.6].
    {
      oid: OID.subjectAltName,
      critical: true,
      value: der.sequence(
        der.contextPrimitive(NAME_FORM[identity.sanForm], Buffer.from(identity.san, 'latin1')),
      ),
    },
    ...identity.extensions,
  ];
  const content = {
    issuer: certificate.subject,
    subject: EMPTY_NAME,
    spki,
    serial: randomSerial(),
    notBeforeMs,
    notAfterMs,
  };
  // They are in all three: precertificate, what is logged of it, certificate.
  const common = extensions.map(encodeExtension);
  const tbsWith = (...more: readonly Extension[]): Uint8Array =>
    buildTbs({ ...content, extensions: [...common, ...more] });
  const precertificate = {
    der: await signTbs(tbsWith({ oid: OID.ctPoison, critical: true, value: der.tlv(0x05) }), signer),
    tbs: tbsWith(),
    chain,
    issuerKeyHash: sha256(certificate.spki),
  };
  const sct = await ctLog.add(precertificate, issuedMs);
  const leaf = await signTbs(tbsWith({ oid: OID.ctSctList, value: sctListExtension(sct) }), signer);
  issued?.({ der: leaf, key, chain });
  return [leaf, ...chain].map(formatPem);
}
