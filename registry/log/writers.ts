// SPDX-License-Identifier: Apache-2.0
// Who may write to the log [docs/spec/log.md §Writers]: certificates of configured authorities, and listed keys.

import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { sameBytes } from '../../core/tlog/merkle.ts';
import { LOG } from '../log-faults.ts';

export interface WriterRules {
  /** Chains of authorities, DER, [intermediate, root] or longer; their certificates may write. */
  readonly authorities: readonly (readonly Uint8Array[])[];
  /** True for the DER SubjectPublicKeyInfo of a key that may write without a certificate. Asked anew each time. */
  readonly isListedKey: (spki: Uint8Array) => boolean;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** What a signature is checked with, in the form that the leaf carries. */
export interface Writer {
  readonly verifier: { readonly certificate: Uint8Array } | { readonly publicKey: Uint8Array };
  readonly key: KeyObject;
}

const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';
/** DER before the uncompressed point of a P-256 SubjectPublicKeyInfo [RFC5480 §2]; 91 bytes with it. */
const P256_SPKI = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');

export class Writers {
  private readonly rules: WriterRules;
  private readonly chains: readonly (readonly X509Certificate[])[];

  /** @throws LOG_AUTHORITY_MALFORMED */
  constructor(rules: WriterRules) {
    this.rules = rules;
    this.chains = rules.authorities.map(readChain);
  }

  /**
   * Admits a certificate or key. Bytes given as a certificate that are a public key count as one: `@sigstore/sign` sends
   * managed keys so.
   * @throws LOG_CERTIFICATE_MALFORMED, LOG_CERTIFICATE_UNTRUSTED, LOG_CERTIFICATE_EXPIRED, LOG_KEY_UNSUPPORTED, LOG_WRITER_UNLISTED
   */
  admit(verifier: Writer['verifier']): Writer {
    if ('publicKey' in verifier) return this.admitKey(verifier.publicKey);
    const certificate = readCertificate(verifier.certificate);
    return certificate === undefined
      ? this.admitKey(verifier.certificate)
      : this.admitCertificate(certificate);
  }

  private admitKey(spki: Uint8Array): Writer {
    const key = readPublicKey(spki);
    if (!this.rules.isListedKey(spki)) {
      throw LOG.reject('LOG_WRITER_UNLISTED', 'expected a key that may write to this log, got another');
    }
    return { verifier: { publicKey: spki }, key };
  }

  private admitCertificate(certificate: X509Certificate): Writer {
    const chain = this.chains.find(
      ([issuer]) =>
        issuer !== undefined && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey),
    );
    if (chain === undefined) {
      throw LOG.reject(
        'LOG_CERTIFICATE_UNTRUSTED',
        'expected a certificate of an authority that may write to this log, got a foreign one',
      );
    }
    // Node gives the extended key usages under this name; the list may be absent.
    if (certificate.ca || !(certificate.keyUsage as string[] | undefined)?.includes(CODE_SIGNING)) {
      throw LOG.reject(
        'LOG_CERTIFICATE_UNTRUSTED',
        'expected a code-signing certificate, got one for another use',
      );
    }
    const nowMs = this.rules.clock();
    for (const each of [certificate, ...chain]) checkValidity(each, nowMs);
    const { publicKey: key } = certificate;
    if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      throw LOG.reject('LOG_KEY_UNSUPPORTED', 'expected a P-256 key in the certificate, got another kind');
    }
    return { verifier: { certificate: new Uint8Array(certificate.raw) }, key };
  }
}

function checkValidity(certificate: X509Certificate, nowMs: number): void {
  if (nowMs < certificate.validFromDate.getTime() || nowMs > certificate.validToDate.getTime()) {
    throw LOG.reject(
      'LOG_CERTIFICATE_EXPIRED',
      `expected a time from ${certificate.validFrom} to ${certificate.validTo}, got ${new Date(nowMs).toISOString()}`,
    );
  }
}

/** A certificate; undefined for bytes that might be a public key. @throws LOG_CERTIFICATE_MALFORMED */
function readCertificate(der: Uint8Array): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(der);
    // Bytes behind the certificate would be a second spelling of the same entry; PEM another.
    if (sameBytes(certificate.raw, der)) return certificate;
  } catch {
    try {
      createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
      return undefined;
    } catch {
      // Neither.
    }
  }
  throw LOG.reject(
    'LOG_CERTIFICATE_MALFORMED',
    'expected one DER certificate or public key, got other bytes',
  );
}

/** A P-256 key in its one accepted encoding. @throws LOG_KEY_UNSUPPORTED */
function readPublicKey(spki: Uint8Array): KeyObject {
  if (spki.length === 91 && P256_SPKI.every((byte, i) => spki[i] === byte)) {
    try {
      return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    } catch {
      // A point that is not on the curve.
    }
  }
  throw LOG.reject(
    'LOG_KEY_UNSUPPORTED',
    'expected the SubjectPublicKeyInfo of a P-256 key with an uncompressed point, got another key',
  );
}

function readChain(ders: readonly Uint8Array[]): readonly X509Certificate[] {
  let chain: X509Certificate[];
  try {
    chain = ders.map((der) => new X509Certificate(der));
  } catch (cause) {
    throw LOG.reject('LOG_AUTHORITY_MALFORMED', 'expected DER certificates, got other bytes', { cause });
  }
  const linked = chain.every((certificate, i) => {
    const issuer = chain[i + 1] ?? certificate;
    return certificate.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  });
  if (chain.length === 0 || !linked) {
    throw LOG.reject(
      'LOG_AUTHORITY_MALFORMED',
      'expected authorities, each issued by the next and the last by itself',
    );
  }
  return chain;
}
