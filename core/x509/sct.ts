// SPDX-License-Identifier: Apache-2.0
// Signed certificate timestamps inside a certificate [RFC6962 §3.2, §3.3]: the proof that it was logged before it was issued. The
// precertificate's TBSCertificate is the certificate's own without the list, byte for byte.
// Stricter than [RFC6962 §3.3]: every timestamp in the list must verify, and no log may have given two.

import type { Crypto } from '../crypto.ts';
import { hexEncode } from '../encoding/hex.ts';
import type { Rejection } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { type Certificate, EXTENSION } from './certificate.ts';
import { contextTag, type DerNode, parseDer, TAG } from './der.ts';
import { X509 } from './faults.ts';
import { isWithin, type Validity } from './path.ts';
import { type PublicKey, type SignatureAlgorithm, verifySignature } from './public-key.ts';

/** One certificate timestamp. Unauthenticated. */
export interface SignedCertificateTimestamp {
  /** 32 bytes. */
  readonly logId: Uint8Array;
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly extensions: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
}

/** A certificate transparency log that is trusted. */
export interface CertificateLog {
  /** 32 bytes. */
  readonly logId: Uint8Array;
  readonly publicKey: PublicKey;
  readonly validFor: Validity;
}

/** Reads vectors of TLS [RFC5246 §4]: big-endian numbers and lengths. */
class TlsReader {
  private readonly bytes: Uint8Array;
  private readonly bad: (message: string) => Rejection;
  private at = 0;

  constructor(bytes: Uint8Array, bad: (message: string) => Rejection) {
    this.bytes = bytes;
    this.bad = bad;
  }

  take(size: number): Uint8Array {
    const taken = this.bytes.subarray(this.at, this.at + size);
    if (taken.length !== size) throw this.bad(`expected ${size} bytes, got ${taken.length}`);
    this.at += size;
    return taken;
  }

  number(size: number): number {
    return this.take(size).reduce((value, octet) => value * 256 + octet, 0);
  }

  vector(): Uint8Array {
    return this.take(this.number(2));
  }

  get isDone(): boolean {
    return this.at === this.bytes.length;
  }

  end(): void {
    if (!this.isDone) throw this.bad(`expected the end, got ${this.bytes.length - this.at} bytes more`);
  }
}

/** The certificate timestamps in a certificate, none if it has no list. @throws X509_SCT_MALFORMED */
export function parseSctList(certificate: Certificate): readonly SignedCertificateTimestamp[] {
  const extension = certificate.extensions.get(EXTENSION.sctList);
  if (extension === undefined) return [];
  const at = `extension ${EXTENSION.sctList}`;
  const bad = (message: string, place = at) => X509.reject('X509_SCT_MALFORMED', message, { at: place });
  const outer = new TlsReader(parseDer(extension.value, bad).octets(), bad);
  const list = new TlsReader(outer.vector(), bad);
  outer.end();
  const found: SignedCertificateTimestamp[] = [];
  while (!list.isDone) {
    if (found.length === LIMITS.sctCount) throw bad(`expected at most ${LIMITS.sctCount} timestamps`);
    found.push(parseSct(list.vector(), bad));
  }
  return found;
}

function parseSct(bytes: Uint8Array, bad: (message: string) => Rejection): SignedCertificateTimestamp {
  const reader = new TlsReader(bytes, bad);
  const version = reader.number(1);
  if (version !== 0) throw bad(`expected version 1 (0), got ${version}`);
  const logId = reader.take(32);
  const timeMs = reader.number(8);
  if (!Number.isSafeInteger(timeMs)) throw bad('expected a time below 2^53 ms');
  const extensions = reader.vector();
  const hash = reader.number(1);
  const kind = reader.number(1);
  const signature = reader.vector();
  reader.end();
  return { logId, timeMs, extensions, algorithm: algorithmOf(hash, kind), signature };
}

/** SHA-256 with ECDSA or RSA alone [RFC6962 §2.1.4]. */
function algorithmOf(hash: number, kind: number): SignatureAlgorithm {
  if (hash === 4 && kind === 3) return { kind: 'ecdsa', hash: 'sha256' };
  if (hash === 4 && kind === 1) return { kind: 'rsa', hash: 'sha256' };
  return { kind: 'other', name: `TLS ${hash}/${kind}` };
}

/**
 * Verifies all certificate timestamps of a certificate.
 * @returns the ids of the logs, hex, none if there is no list
 * @throws X509_SCT_MALFORMED, X509_SCT_LOG_UNKNOWN, X509_SCT_SIGNATURE_INVALID, X509_ALGORITHM_UNSUPPORTED
 */
export function verifyScts(
  certificate: Certificate,
  issuer: Certificate,
  logs: readonly CertificateLog[],
  crypto: Crypto,
): readonly string[] {
  const scts = parseSctList(certificate);
  if (scts.length === 0) return [];
  const issuerKeyHash = crypto.sha256(issuer.publicKey.spki);
  const tbs = withoutSctList(certificate);
  const seen: string[] = [];
  for (const sct of scts) {
    const id = hexEncode(sct.logId);
    const at = `extension ${EXTENSION.sctList}, log ${id}`;
    if (seen.includes(id))
      throw X509.reject('X509_SCT_MALFORMED', 'expected one timestamp of a log, got two', { at });
    seen.push(id);
    const named = logs.filter((log) => sameBytes(log.logId, sct.logId) && isWithin(log.validFor, sct.timeMs));
    if (named.length === 0) {
      throw X509.reject('X509_SCT_LOG_UNKNOWN', 'expected a log that the trusted root names for that time', {
        at,
      });
    }
    const data = signedBytes(sct, issuerKeyHash, tbs);
    const { algorithm, signature } = sct;
    if (!named.some((log) => verifySignature({ key: log.publicKey, algorithm, data, signature }, crypto))) {
      throw X509.reject('X509_SCT_SIGNATURE_INVALID', 'expected the signature of the log, got another', {
        at,
      });
    }
  }
  return seen;
}

/** `digitally-signed` of a precertificate entry [RFC6962 §3.2]. */
function signedBytes(
  sct: SignedCertificateTimestamp,
  issuerKeyHash: Uint8Array,
  tbs: Uint8Array,
): Uint8Array {
  return join(
    // Version 1, signature type certificate_timestamp.
    big(0, 2),
    big(sct.timeMs, 8),
    // Entry type precert_entry.
    big(1, 2),
    issuerKeyHash,
    big(tbs.length, 3),
    tbs,
    big(sct.extensions.length, 2),
    sct.extensions,
  );
}

function big(value: number, width: number): Uint8Array {
  const out = new Uint8Array(width);
  let rest = value;
  for (let i = width - 1; i >= 0; i--) {
    out[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return out;
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The TBSCertificate as the log saw it: the same without the list, lengths made anew. @throws X509_CERTIFICATE_MALFORMED */
export function withoutSctList(certificate: Certificate): Uint8Array {
  const bad = (message: string, at: string) => X509.reject('X509_CERTIFICATE_MALFORMED', message, { at });
  const tbs = parseDer(certificate.tbs, bad);
  const isList = (node: DerNode) => node.children[0]?.oid() === EXTENSION.sctList;
  const members = tbs.children.map((member) => {
    if (member.tag !== contextTag(3, 'constructed')) return member.der;
    const kept = member.only().children.filter((extension) => !isList(extension));
    return encode(member.tag, encode(TAG.sequence, ...kept.map(({ der }) => der)));
  });
  return encode(tbs.tag, ...members);
}

/** One value in DER: length in the fewest octets. */
function encode(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const size = content.reduce((sum, part) => sum + part.length, 0);
  const width = size < 0x80 ? 0 : size < 0x100 ? 1 : size < 0x10000 ? 2 : 3;
  const length = width === 0 ? Uint8Array.of(size) : join(Uint8Array.of(0x80 | width), big(size, width));
  return join(Uint8Array.of(tag), length, ...content);
}
