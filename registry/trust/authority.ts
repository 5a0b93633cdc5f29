// SPDX-License-Identifier: Apache-2.0
// An authority: a private key, its certificate and the chain above it, as one checked whole.

import * as asn1 from 'asn1js';
import { Certificate } from 'pkijs';
import { TRUST } from '../trust-faults.ts';
import { OID } from './certificate.ts';
import type { P256Signer } from './signer.ts';

/** What issuing needs of an authority's own certificate. */
export interface AuthorityCertificate {
  /** DER Name. */
  readonly subject: Uint8Array;
  readonly commonName: string;
  readonly issuer: Uint8Array;
  /** Content octets of the serial number. */
  readonly serial: Uint8Array;
  readonly spki: Uint8Array;
  readonly keyIdentifier: Uint8Array;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A key that may issue, and the certificates that say so. */
export interface Authority {
  readonly signer: P256Signer;
  readonly certificate: AuthorityCertificate;
  /** DER: the signer's certificate first, the root last. */
  readonly chain: readonly Uint8Array[];
}

/**
 * Joins a key with its chain.
 * @throws CA_FILES_UNREADABLE if the chain is empty or not made of certificates, CA_KEY_MISMATCH if the first is another key's
 */
export function joinAuthority(signer: P256Signer, chain: readonly Uint8Array[], at: string): Authority {
  const certificate = checkChain(chain, at);
  if (Buffer.compare(certificate.spki, signer.spki) !== 0) {
    throw TRUST.reject(
      'CA_KEY_MISMATCH',
      'expected the first certificate to hold the public key of its private key',
      {
        at,
      },
    );
  }
  return { signer, certificate, chain };
}

/** The first certificate of a chain. @throws CA_FILES_UNREADABLE if the chain is empty or not made of certificates */
export function checkChain(chain: readonly Uint8Array[], at: string): AuthorityCertificate {
  const [certificate] = chain.map(readCertificate);
  if (certificate === undefined || chain.some((der) => readCertificate(der) === undefined)) {
    throw TRUST.reject('CA_FILES_UNREADABLE', 'expected a chain of X.509 certificates in PEM', { at });
  }
  return certificate;
}

/** Reads a certificate; nothing about it is verified. @returns undefined for anything that is not one */
export function readCertificate(der: Uint8Array): AuthorityCertificate | undefined {
  try {
    const parsed = asn1.fromBER(der);
    if (parsed.offset !== der.length) return undefined;
    const certificate = new Certificate({ schema: parsed.result });
    const name = certificate.subject.typesAndValues.find(({ type }) => String(type) === OID.commonName);
    const identifier = certificate.extensions?.find(({ extnID }) => extnID === OID.subjectKeyIdentifier);
    return {
      subject: new Uint8Array(certificate.subject.toSchema().toBER()),
      commonName: String(name?.value.valueBlock.value ?? ''),
      issuer: new Uint8Array(certificate.issuer.toSchema().toBER()),
      serial: certificate.serialNumber.valueBlock.valueHexView.slice(),
      spki: new Uint8Array(certificate.subjectPublicKeyInfo.toSchema().toBER()),
      keyIdentifier: octets(identifier?.extnValue.valueBlock.valueHexView),
      notBeforeMs: certificate.notBefore.value.getTime(),
      notAfterMs: certificate.notAfter.value.getTime(),
    };
  } catch {
    return undefined;
  }
}

/** The octets inside a DER octet string of fewer than 128 octets. */
function octets(der: Uint8Array | undefined): Uint8Array {
  if (der === undefined || der[0] !== 0x04 || der.length !== (der[1] ?? 0) + 2) {
    throw new TypeError('a certificate without subject key identifier');
  }
  return der.slice(2);
}

/** Refuses to issue under a certificate that is not valid at `nowMs` or ends before what it issues. @throws CA_CHAIN_NOT_VALID */
export function checkAuthorityTime({ certificate }: Authority, nowMs: number, untilMs = nowMs): void {
  const { notBeforeMs, notAfterMs } = certificate;
  if (nowMs < notBeforeMs || untilMs > notAfterMs) {
    const span = `${new Date(notBeforeMs).toISOString()} to ${new Date(notAfterMs).toISOString()}`;
    throw TRUST.unavailable(
      'CA_CHAIN_NOT_VALID',
      `expected a time within ${span}, got ${new Date(nowMs).toISOString()}`,
    );
  }
}

/** DER to PEM [RFC7468 §5]. */
export function formatPem(der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** The certificates of a PEM file, in its order. */
export function parsePemChain(text: string): readonly Uint8Array[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map(
    (block) => new Uint8Array(Buffer.from(block.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64')),
  );
}
