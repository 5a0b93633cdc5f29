// SPDX-License-Identifier: Apache-2.0
// What a log entry says about a bundle: hashedrekord 0.0.1, dsse 0.0.1 and intoto 0.0.2 of Rekor v1 [Rekor-v1-3097417 §11], hashedrekord 0.0.2 and
// dsse 0.0.2 of Rekor v2 [Rekor-v2 §rekor.v2.HashedRekordLogEntryV002].
// Stricter than [Sigstore-client-3097417 §4.4]: certificate or key must be the bundle's own, byte for byte.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { hexDecode } from '../encoding/hex.ts';
import { utf8Decode } from '../encoding/utf8.ts';
import { quote } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { formatHashedRekord } from '../tlog/hashed-rekord.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { SIGSTORE } from './faults.ts';

/** The signer's DER certificate, or its DER SubjectPublicKeyInfo. */
export type EntryVerifier = { readonly certificate: Uint8Array } | { readonly publicKey: Uint8Array };

/** The bundle's parts that its entry must repeat. */
export interface EntrySubject {
  /** SHA-256 of what the signature covers. */
  readonly signedDigest: Uint8Array;
  /** SHA-256 of the payload, which few kinds of entries name, and its type; undefined unless an envelope was signed. */
  readonly payload: { digest(): Uint8Array; readonly type: string } | undefined;
  readonly signature: Uint8Array;
  readonly verifier: EntryVerifier;
}

/** One entry as the bundle gives it. */
export interface EntryBody {
  readonly kind: string;
  readonly version: string;
  readonly body: Uint8Array;
}

/** What an entry repeats; the digest is of what was signed, or of the payload. */
interface Claim {
  readonly of: 'signed' | 'payload';
  readonly digest: Uint8Array;
  readonly payloadType?: string;
  readonly signature: Uint8Array;
  readonly verifier: EntryVerifier;
}

const READERS: Readonly<Record<string, (spec: DocumentNode) => Claim>> = {
  'hashedrekord 0.0.1': readHashedRekord,
  'dsse 0.0.1': readDsse,
  'intoto 0.0.2': readIntoto,
  'dsse 0.0.2': readDsseV2,
};

/**
 * Compares an entry with the bundle that it came in. Where Rekor v2's one form is used the entry is rebuilt and compared whole.
 * @throws SIGSTORE_LOG_ENTRY_UNSUPPORTED, SIGSTORE_LOG_ENTRY_MISMATCH
 */
export function checkEntry({ kind, version, body }: EntryBody, subject: EntrySubject, at: string): void {
  const differs = (what: string) =>
    SIGSTORE.reject(
      'SIGSTORE_LOG_ENTRY_MISMATCH',
      `expected the bundle's ${what} in its log entry, got another`,
      {
        at,
      },
    );
  if (kind === 'hashedrekord' && version === '0.0.2') {
    const { signedDigest: digest, signature, verifier } = subject;
    const leaf = formatHashedRekord({ digest, signature, verifier, keyDetails: 'PKIX_ECDSA_P256_SHA_256' });
    if (!sameBytes(leaf, body)) throw differs('digest, signature and certificate or key');
    return;
  }
  const claim = readClaim(kind, version, body, at);
  const digest = claim.of === 'signed' ? subject.signedDigest : subject.payload?.digest();
  if (digest === undefined || !sameBytes(claim.digest, digest)) throw differs('digest');
  if (claim.payloadType !== undefined && claim.payloadType !== subject.payload?.type) {
    throw differs('payload type');
  }
  if (!sameBytes(claim.signature, subject.signature)) throw differs('signature');
  const [one, other] = [claim.verifier, subject.verifier];
  const same =
    'certificate' in one
      ? 'certificate' in other && sameBytes(one.certificate, other.certificate)
      : 'publicKey' in other && sameBytes(one.publicKey, other.publicKey);
  if (!same) throw differs('certificate or key');
}

function readClaim(kind: string, version: string, body: Uint8Array, at: string): Claim {
  const refuse = (message: string, place: string) =>
    SIGSTORE.reject('SIGSTORE_LOG_ENTRY_UNSUPPORTED', message, { at: `${at}, body ${place}` });
  const name = `${kind} ${version}`;
  const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  if (read === undefined) {
    throw refuse(
      `expected ${Object.keys(READERS).join(', ')} or hashedrekord 0.0.2, got ${quote(name)}`,
      '/kind',
    );
  }
  const root = parseDocument(body, { refuse }, LIMITS.bundleSizeBytes).only('apiVersion', 'kind', 'spec');
  root.field('kind').word(kind);
  root.field('apiVersion').word(version);
  return read(root.field('spec'));
}

function readHashedRekord(spec: DocumentNode): Claim {
  spec.only('data', 'signature');
  const signature = spec.field('signature').only('content', 'publicKey');
  return {
    of: 'signed',
    digest: sha256Of(spec.field('data').only('hash').field('hash')),
    signature: octets(signature.field('content')),
    verifier: pemOf(signature.field('publicKey').only('content').field('content')),
  };
}

function readDsse(spec: DocumentNode): Claim {
  spec.only('envelopeHash', 'payloadHash', 'signatures');
  const signature = single(spec.field('signatures')).only('signature', 'verifier');
  return {
    of: 'payload',
    digest: sha256Of(spec.field('payloadHash')),
    signature: octets(signature.field('signature')),
    verifier: pemOf(signature.field('verifier')),
  };
}

function readIntoto(spec: DocumentNode): Claim {
  const content = spec.only('content').field('content').only('envelope', 'hash', 'payloadHash');
  const envelope = content.field('envelope').only('payload', 'payloadType', 'signatures');
  const signature = single(envelope.field('signatures')).only('keyid', 'publicKey', 'sig');
  // Base64 within base64; what is not base64 inside is nobody's signature.
  const inner = base64Decode(utf8Decode(octets(signature.field('sig'))) ?? '') ?? new Uint8Array(0);
  return {
    of: 'payload',
    digest: sha256Of(content.field('payloadHash')),
    payloadType: envelope.field('payloadType').string(),
    signature: inner,
    verifier: pemOf(signature.field('publicKey')),
  };
}

function readDsseV2(spec: DocumentNode): Claim {
  const dsse = spec.only('dsseV002').field('dsseV002').only('payloadHash', 'signatures');
  const hash = dsse.field('payloadHash').only('algorithm', 'digest');
  hash.field('algorithm').word('SHA2_256');
  const signature = single(dsse.field('signatures')).only('content', 'verifier');
  const verifier = signature.field('verifier').only('keyDetails', 'x509Certificate', 'publicKey');
  verifier.field('keyDetails').word('PKIX_ECDSA_P256_SHA_256');
  const certificate = verifier.optional('x509Certificate');
  const held = certificate ?? verifier.field('publicKey');
  const rawBytes = octets(held.only('rawBytes').field('rawBytes'));
  return {
    of: 'payload',
    digest: octets(hash.field('digest')),
    signature: octets(signature.field('content')),
    verifier: certificate === undefined ? { publicKey: rawBytes } : { certificate: rawBytes },
  };
}

function sha256Of(node: DocumentNode): Uint8Array {
  node.only('algorithm', 'value').field('algorithm').word('sha256');
  return hexDecode(node.field('value').sha256()) as Uint8Array;
}

function single(node: DocumentNode): DocumentNode {
  const [first, ...more] = node.someElements() as [DocumentNode];
  if (more.length > 0) throw node.wrong(`expected exactly one element, got ${more.length + 1}`);
  return first;
}

const PEM = /^-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]+?)\r?\n-----END \1-----\s*$/;

/** A certificate or key in PEM [RFC7468 §5, §13], in base64 again. */
function pemOf(node: DocumentNode): EntryVerifier {
  const [, label, lines = ''] = PEM.exec(utf8Decode(octets(node)) ?? '') ?? [];
  const der = base64Decode(lines.replace(/[\r\n]/g, ''));
  if (label === undefined || der === undefined)
    throw node.wrong('expected a certificate or public key in PEM');
  return label === 'CERTIFICATE' ? { certificate: der } : { publicKey: der };
}

function octets(node: DocumentNode): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  return bytes;
}
