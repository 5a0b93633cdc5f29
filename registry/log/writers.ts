// SPDX-License-Identifier: Apache-2.0
// Who may write to the log [docs/spec/log.md §Writers]: certificates of configured authorities, and listed keys.

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Certificate, EXTENSION, KEY_USAGE, parseCertificate } from '../../core/x509/certificate.ts';
import { isNamed } from '../../core/x509/path.ts';
import { LOG } from '../log-faults.ts';

export interface WriterRules {
  /** Chains of authorities, DER, [intermediate, root] or longer; their certificates may write. Read anew when it is another array. */
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

/** A certificate that was verified, and those above it; whether they are valid depends on the time. */
interface KnownWriter {
  readonly path: readonly Certificate[];
  readonly key: KeyObject;
}

/** A build signs several statements with one certificate; its verification is not repeated. */
const KNOWN_COUNT_MAX = 1024;

/** An authority whose certificates may write, with the key that they are signed with. */
interface WritingAuthority {
  /** Issuer of leaves first. */
  readonly chain: readonly Certificate[];
  readonly key: KeyObject;
}

const UNDERSTOOD: readonly string[] = Object.values(EXTENSION);
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';
/** DER before the uncompressed point of a P-256 SubjectPublicKeyInfo [RFC5480 §2]; 91 bytes with it. */
const P256_SPKI = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');

export class Writers {
  private readonly rules: WriterRules;
  private read: WriterRules['authorities'];
  private authorities: readonly WritingAuthority[];
  /** By all bytes of the certificate. */
  private readonly known = new Map<string, KnownWriter>();

  /** @throws LOG_AUTHORITY_MALFORMED */
  constructor(rules: WriterRules) {
    this.rules = rules;
    this.read = rules.authorities;
    this.authorities = this.read.map(readAuthority);
  }

  /**
   * Admits a certificate or key. Bytes given as a certificate that are a public key count as one: `@sigstore/sign` sends
   * managed keys so.
   * @throws LOG_CERTIFICATE_MALFORMED, LOG_CERTIFICATE_UNTRUSTED, LOG_CERTIFICATE_EXPIRED, LOG_KEY_UNSUPPORTED, LOG_WRITER_UNLISTED
   */
  admit(verifier: Writer['verifier']): Writer {
    if ('publicKey' in verifier) return this.admitKey(verifier.publicKey);
    this.readAuthorities();
    const { certificate: der } = verifier;
    const bytes = Buffer.from(der.buffer, der.byteOffset, der.length).toString('latin1');
    const known = this.known.get(bytes) ?? this.readWriter(der);
    if (known === undefined) return this.admitKey(der);
    const nowMs = this.rules.clock();
    for (const each of known.path) checkValidity(each, nowMs);
    this.remember(bytes, known);
    return { verifier, key: known.key };
  }

  /** Authorities change when trust material is published; what was known under others is known no more. */
  private readAuthorities(): void {
    const { authorities } = this.rules;
    if (authorities === this.read) return;
    this.authorities = authorities.map(readAuthority);
    this.known.clear();
    this.read = authorities;
  }

  private admitKey(spki: Uint8Array): Writer {
    const key = readPublicKey(spki);
    if (!this.rules.isListedKey(spki)) {
      throw LOG.reject('LOG_WRITER_UNLISTED', 'expected a key that may write to this log, got another');
    }
    return { verifier: { publicKey: spki }, key };
  }

  /** The one that came last is forgotten last. */
  private remember(bytes: string, known: KnownWriter): void {
    this.known.delete(bytes);
    this.known.set(bytes, known);
    const [oldest] = this.known.keys();
    if (this.known.size > KNOWN_COUNT_MAX && oldest !== undefined) this.known.delete(oldest);
  }

  /** All that holds of a certificate at any time; undefined for a public key. */
  private readWriter(der: Uint8Array): KnownWriter | undefined {
    const certificate = readCertificate(der);
    if (certificate === undefined) return undefined;
    const { tbs, signature, algorithm, publicKey } = certificate;
    const isEcdsaSha256 = algorithm.kind === 'ecdsa' && algorithm.hash === 'sha256';
    const authority = this.authorities.find(
      ({ chain: [issuer], key }) =>
        isNamed(certificate, issuer as Certificate) && isEcdsaSha256 && verify('sha256', tbs, key, signature),
    );
    if (authority === undefined) {
      throw LOG.reject(
        'LOG_CERTIFICATE_UNTRUSTED',
        'expected a certificate of an authority that may write to this log, got a foreign one',
      );
    }
    if (!signsCode(certificate)) {
      throw LOG.reject(
        'LOG_CERTIFICATE_UNTRUSTED',
        'expected a code-signing certificate, got one for another use',
      );
    }
    return { path: [certificate, ...authority.chain], key: readPublicKey(publicKey.spki) };
  }
}

/** What verifiers ask of a certificate: a precertificate, say, has something critical that nobody understands. */
function signsCode({ constraints, keyUsage, purposes, extensions }: Certificate): boolean {
  return (
    constraints?.isAuthority !== true &&
    keyUsage?.includes(KEY_USAGE.digitalSignature) === true &&
    purposes?.includes(CODE_SIGNING) === true &&
    [...extensions].every(([name, { critical }]) => !critical || UNDERSTOOD.includes(name))
  );
}

function checkValidity({ notBeforeMs, notAfterMs }: Certificate, nowMs: number): void {
  if (nowMs < notBeforeMs || nowMs > notAfterMs) {
    const [from, to, now] = [notBeforeMs, notAfterMs, nowMs].map((ms) => new Date(ms).toISOString());
    throw LOG.reject('LOG_CERTIFICATE_EXPIRED', `expected a time from ${from} to ${to}, got ${now}`);
  }
}

/** A certificate; undefined for bytes that might be a public key. @throws LOG_CERTIFICATE_MALFORMED */
function readCertificate(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(der);
  } catch (cause) {
    try {
      createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
      return undefined;
    } catch {
      throw LOG.reject(
        'LOG_CERTIFICATE_MALFORMED',
        'expected one DER certificate or public key, got other bytes',
        { cause },
      );
    }
  }
}

/** A P-256 key in its one accepted encoding. @throws LOG_KEY_UNSUPPORTED */
function readPublicKey(spki: Uint8Array): KeyObject {
  if (spki.length === 91 && P256_SPKI.every((byte, i) => spki[i] === byte)) {
    const coordinate = (at: number): string => Buffer.from(spki.subarray(at, at + 32)).toString('base64url');
    try {
      // The coordinates cost two thirds of what reading the same key as DER does.
      return createPublicKey({
        key: { kty: 'EC', crv: 'P-256', x: coordinate(27), y: coordinate(59) },
        format: 'jwk',
      });
    } catch {
      // A point that is not on the curve.
    }
  }
  throw LOG.reject(
    'LOG_KEY_UNSUPPORTED',
    'expected the SubjectPublicKeyInfo of a P-256 key with an uncompressed point, got another key',
  );
}

function readAuthority(ders: readonly Uint8Array[]): WritingAuthority {
  try {
    const chain = ders.map(parseCertificate);
    const keys = chain.map(({ publicKey }) => readPublicKey(publicKey.spki));
    const linked = chain.every((certificate, i) => {
      const [issuer, key] = [chain[i + 1] ?? certificate, keys[i + 1] ?? (keys[i] as KeyObject)];
      return (
        certificate.constraints?.isAuthority === true &&
        isNamed(certificate, issuer) &&
        verify('sha256', certificate.tbs, key, certificate.signature)
      );
    });
    if (linked && keys[0] !== undefined) return { chain, key: keys[0] };
  } catch (cause) {
    throw LOG.reject('LOG_AUTHORITY_MALFORMED', 'expected DER certificates of P-256 keys, got other bytes', {
      cause,
    });
  }
  throw LOG.reject(
    'LOG_AUTHORITY_MALFORMED',
    'expected authorities, each issued by the next and the last by itself',
  );
}
