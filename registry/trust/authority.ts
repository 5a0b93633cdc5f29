// SPDX-License-Identifier: Apache-2.0
// An authority: a private key, its certificate and the chain above it, as one checked whole.

import { Rejection } from '../../core/faults.ts';
import { parseCertificate } from '../../core/x509/certificate.ts';
import { parseDer, TAG } from '../../core/x509/der.ts';
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
    const { subject, issuer, serial, publicKey, subjectKeyId, notBeforeMs, notAfterMs } =
      parseCertificate(der);
    if (subjectKeyId === undefined) return undefined;
    const { spki } = publicKey;
    const keyIdentifier = subjectKeyId;
    const commonName = commonNameOf(subject);
    return { subject, commonName, issuer, serial, spki, keyIdentifier, notBeforeMs, notAfterMs };
  } catch (fault) {
    if (fault instanceof Rejection) return undefined;
    throw fault;
  }
}

/** UTF8String, PrintableString and IA5String, the last two within ASCII. */
const READABLE: readonly number[] = [TAG.utf8String, 0x13, 0x16];

/** The first common name of a DER Name; empty if there is none, or in an older alphabet. @throws CA_FILES_UNREADABLE */
function commonNameOf(name: Uint8Array): string {
  const refuse = (message: string, at: string) => TRUST.reject('CA_FILES_UNREADABLE', message, { at });
  for (const { children } of parseDer(name, refuse).expect(TAG.sequence).children) {
    for (const attribute of children) {
      const members = attribute.members();
      const type = members.next().oid();
      const value = members.next();
      members.end();
      if (type === OID.commonName)
        return READABLE.includes(value.tag) ? Buffer.from(value.content).toString() : '';
    }
  }
  return '';
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
