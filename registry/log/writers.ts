// SPDX-License-Identifier: Apache-2.0
// Who may write to the log [docs/spec/log.md §Writers]: certificates of configured authorities, and listed keys.

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Certificate, EXTENSION, KEY_USAGE, parseCertificate } from '../../core/x509/certificate.ts';
import { isNamed } from '../../core/x509/path.ts';
import type { IssuedCertificate } from '../ca/certificate-authority.ts';
import { LOG } from '../log-faults.ts';
import { readP256Key } from '../trust/p256-key.ts';

export interface WriterRules {
  /** Chains of authorities, DER, [intermediate, root] or longer; their certificates may write. Read anew when it is another array. */
  readonly authorities: readonly (readonly Uint8Array[])[];
  /** True for the DER SubjectPublicKeyInfo of a key that may write without a certificate. Asked anew each time. */
  readonly isListedKey: (spki: Uint8Array) => boolean;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** What a signature is checked with, and as what the leaf carries it. */
export interface Writer {
  readonly form: 'certificate' | 'publicKey';
  readonly key: KeyObject;
}

/** A certificate that was verified, and those above it; whether they are valid depends on the time. */
interface KnownWriter {
  readonly path: readonly [leaf: Certificate, ...authorities: readonly Certificate[]];
  readonly key: KeyObject;
}

/** A build signs several statements with one certificate, most often moments after it was issued here; it is verified once. */
const KNOWN_COUNT_MAX = 1024;
/** Octets at the end of a certificate, within its signature, under which it is kept: as good as random. */
const TAIL_BYTES = 24;

/** An authority whose certificates may write, with the key that they are signed with. */
interface WritingAuthority {
  /** Issuer of leaves first. */
  readonly chain: readonly Certificate[];
  readonly key: KeyObject;
}

const UNDERSTOOD: readonly string[] = Object.values(EXTENSION);
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';

export class Writers {
  private readonly rules: WriterRules;
  private read: WriterRules['authorities'];
  private authorities: readonly WritingAuthority[];
  /** By the last octets of the certificate; all of them are compared. */
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
  admit(der: Uint8Array, form: Writer['form']): Writer {
    if (form === 'publicKey') return this.admitKey(der);
    this.readAuthorities();
    const known = this.find(der) ?? this.readWriter(der.slice());
    if (known === undefined) return this.admitKey(der);
    const nowMs = this.rules.clock();
    for (const each of known.path) checkValidity(each, nowMs);
    this.remember(known);
    return { form: 'certificate', key: known.key };
  }

  /**
   * Takes note of a certificate that this process has just signed: whoever writes with it needs no verification of that. It counts as
   * long as its authority does, and all else is asked as of any other.
   */
  issued({ der, key, chain }: IssuedCertificate): void {
    this.readAuthorities();
    const authority = this.authorities.find((each) =>
      each.chain.every((certificate, i) => sameBytes(certificate.der, chain[i])),
    );
    const certificate = parseCertificate(der);
    if (authority === undefined || !signsCode(certificate)) return;
    this.remember({ path: [certificate, ...authority.chain], key });
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
    return { form: 'publicKey', key };
  }

  private find(der: Uint8Array): KnownWriter | undefined {
    const found = this.known.get(tailOf(der));
    return found !== undefined && sameBytes(found.path[0].der, der) ? found : undefined;
  }

  /** The one that came last is forgotten last. */
  private remember(known: KnownWriter): void {
    const tail = tailOf(known.path[0].der);
    this.known.delete(tail);
    this.known.set(tail, known);
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
  const key = readP256Key(spki);
  if (key !== undefined) return key;
  throw LOG.reject(
    'LOG_KEY_UNSUPPORTED',
    'expected the SubjectPublicKeyInfo of a P-256 key with an uncompressed point, got another key',
  );
}

function tailOf(der: Uint8Array): string {
  const from = Math.max(0, der.length - TAIL_BYTES);
  return Buffer.from(der.buffer, der.byteOffset + from, der.length - from).toString('latin1');
}

/** Natively: certificates come with every request. */
function sameBytes(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return b !== undefined && Buffer.compare(a, b) === 0;
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
