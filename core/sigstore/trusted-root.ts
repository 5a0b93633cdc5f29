// SPDX-License-Identifier: Apache-2.0
// trusted_root.json [sigstore-protobuf-specs-v0.5 §sigstore_trustroot.proto], versions 0.1 and 0.2: whose certificates, timestamps,
// certificate logs and signature logs are believed, and when.
// Stricter than [sigstore-protobuf-specs-v0.5 §sigstore_trustroot.proto]: unknown members are refused, every period has a start,
// chains are in issuing order and end in a self-signed certificate, a key is of the kind that it is said to be.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument, parseInstantMs } from '../encoding/document.ts';
import { Rejection } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { type Certificate, parseCertificate } from '../x509/certificate.ts';
import { type Authority, isNamed, type Validity } from '../x509/path.ts';
import { type PublicKey, parsePublicKey } from '../x509/public-key.ts';
import type { CertificateLog } from '../x509/sct.ts';
import type { TimestampAuthority } from '../x509/timestamp.ts';
import { SIGSTORE } from './faults.ts';

const MEDIA_TYPES = [
  'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  'application/vnd.dev.sigstore.trustedroot.v0.1+json',
  'application/vnd.dev.sigstore.trustedroot.v0.2+json',
] as const;

/** A signature log that is trusted. */
export interface SignatureLog {
  /** Base URL without scheme: the name of its checkpoints. */
  readonly origin: string;
  /** 32 bytes. */
  readonly logId: Uint8Array;
  readonly publicKey: PublicKey;
  readonly validFor: Validity;
}

/** A certificate log by the name of its checkpoints. */
export interface NamedCertificateLog extends CertificateLog {
  /** Base URL without scheme, empty if the trusted root has none. */
  readonly origin: string;
}

/** A timestamp authority by the name that results show. */
export interface NamedTimestampAuthority extends TimestampAuthority {
  /** Its URI, empty if the trusted root has none. */
  readonly uri: string;
}

/** A parsed trusted root. Authenticated by whoever gave the bytes. */
export interface TrustedRoot {
  readonly signatureLogs: readonly SignatureLog[];
  readonly certificateLogs: readonly NamedCertificateLog[];
  readonly certificateAuthorities: readonly Authority[];
  readonly timestampAuthorities: readonly NamedTimestampAuthority[];
}

/** Kinds of keys that are checked here; all others are kept unread, and refused where they are needed. */
const KEY_KINDS: Readonly<Record<string, (key: PublicKey) => boolean>> = {
  PKIX_ECDSA_P256_SHA_256: (key) => key.kind === 'ecdsa' && key.curve === 'P-256',
  PKIX_ECDSA_P384_SHA_384: (key) => key.kind === 'ecdsa' && key.curve === 'P-384',
  PKIX_ED25519: (key) => key.kind === 'ed25519',
  PKIX_RSA_PKCS1V15_2048_SHA256: (key) => key.kind === 'rsa',
  PKIX_RSA_PKCS1V15_3072_SHA256: (key) => key.kind === 'rsa',
  PKIX_RSA_PKCS1V15_4096_SHA256: (key) => key.kind === 'rsa',
};

/** Parses a trusted root; lists may be empty. @throws SIGSTORE_TRUSTED_ROOT_MALFORMED */
export function parseTrustedRoot(bytes: Uint8Array): TrustedRoot {
  const refuse = (message: string, at: string) =>
    SIGSTORE.reject('SIGSTORE_TRUSTED_ROOT_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse });
  root.only('mediaType', 'tlogs', 'certificateAuthorities', 'ctlogs', 'timestampAuthorities');
  root.field('mediaType').word(...MEDIA_TYPES);
  return {
    signatureLogs: list(root, 'tlogs').map(readSignatureLog),
    certificateLogs: list(root, 'ctlogs').map(readCertificateLog),
    certificateAuthorities: list(root, 'certificateAuthorities').map((node) => {
      const issuers = readChain(node);
      checkOrder(issuers, node);
      return { issuers, validFor: readPeriod(node.field('validFor')) };
    }),
    timestampAuthorities: list(root, 'timestampAuthorities').map(readTimestampAuthority),
  };
}

function list(root: DocumentNode, name: string): readonly DocumentNode[] {
  const nodes = present(root, name)?.elements() ?? [];
  if (nodes.length > LIMITS.trustedRootCount) {
    throw root.field(name).wrong(`expected at most ${LIMITS.trustedRootCount} elements, got ${nodes.length}`);
  }
  return nodes;
}

/** A member that is there; null is absence in protobuf JSON. */
function present(node: DocumentNode, name: string): DocumentNode | undefined {
  const found = node.optional(name);
  return found?.value === null ? undefined : found;
}

function readLog(node: DocumentNode): CertificateLog {
  node.only('baseUrl', 'hashAlgorithm', 'publicKey', 'logId', 'checkpointKeyId', 'operator');
  node.field('hashAlgorithm').word('SHA2_256');
  const key = node.field('publicKey').only('rawBytes', 'keyDetails', 'validFor');
  const logId = decode(node.field('logId').only('keyId').field('keyId'));
  if (logId.length !== 32) throw node.field('logId').wrong(`expected 32 bytes, got ${logId.length}`);
  const checkpointKeyId = present(node, 'checkpointKeyId');
  if (checkpointKeyId !== undefined) {
    // What the checkpoint's key is known by has always been the beginning of the log's id.
    const id = decode(checkpointKeyId.only('keyId').field('keyId'));
    if (id.length < 4 || id.length > 32 || id.some((octet, i) => octet !== logId[i])) {
      throw checkpointKeyId.wrong('expected the beginning of the log id');
    }
  }
  return { logId, publicKey: readKey(key), validFor: readPeriod(key.field('validFor')) };
}

function readSignatureLog(node: DocumentNode): SignatureLog {
  const log = readLog(node);
  const url = node.field('baseUrl').matching(/^(https?:\/\/)?[^\s/?#]+(\/[^\s?#]*)?$/, 'a URL');
  return { ...log, origin: originOf(url) };
}

/** Verifiers know a certificate log by its id alone, so its address may be missing. */
function readCertificateLog(node: DocumentNode): NamedCertificateLog {
  const url = node.optional('baseUrl')?.value;
  return { ...readLog(node), origin: typeof url === 'string' ? originOf(url) : '' };
}

const originOf = (url: string): string => url.replace(/^https?:\/\//, '').replace(/\/$/, '');

function readKey(node: DocumentNode): PublicKey {
  const details = node.field('keyDetails').string();
  const raw = decode(node.field('rawBytes'));
  const isKind = Object.hasOwn(KEY_KINDS, details) ? KEY_KINDS[details] : undefined;
  if (isKind === undefined) return { kind: 'other', spki: raw, name: details };
  const refuse = (message: string, at: string) => node.field('rawBytes').wrong(`${message} (${at})`);
  const key = parsePublicKey(raw, refuse);
  if (!isKind(key)) throw node.field('rawBytes').wrong(`expected a key of the kind ${details}`);
  return key;
}

function readTimestampAuthority(node: DocumentNode): NamedTimestampAuthority {
  const chain = readChain(node);
  checkOrder(chain, node);
  const [certificate, ...issuers] = chain as [Certificate, ...Certificate[]];
  if (issuers.length === 0)
    throw node.field('certChain').wrong("expected a signer's certificate and its issuers");
  const uri = present(node, 'uri')?.string() ?? '';
  return { certificate, issuers, validFor: readPeriod(node.field('validFor')), uri };
}

function readChain(node: DocumentNode): readonly Certificate[] {
  node.only('subject', 'uri', 'certChain', 'validFor', 'operator');
  const certificates = node.field('certChain').only('certificates').field('certificates').someElements();
  if (certificates.length > LIMITS.chainLength) {
    throw node.field('certChain').wrong(`expected at most ${LIMITS.chainLength} certificates`);
  }
  return certificates.map((certificate) => {
    const rawBytes = certificate.only('rawBytes').field('rawBytes');
    try {
      return parseCertificate(decode(rawBytes));
    } catch (failure) {
      if (!(failure instanceof Rejection) || failure.code === 'SIGSTORE_TRUSTED_ROOT_MALFORMED')
        throw failure;
      throw rawBytes.wrong(`${failure.message} (${failure.at ?? 'offset 0'})`);
    }
  });
}

/** Each certificate names the next as its issuer, the last itself. Signatures are verified when the chain is used. */
function checkOrder(chain: readonly Certificate[], node: DocumentNode): void {
  chain.forEach((certificate, i) => {
    if (!isNamed(certificate, chain[i + 1] ?? certificate)) {
      throw node
        .field('certChain')
        .wrong(`expected certificates in issuing order up to a root, got another after ${i + 1}`);
    }
  });
}

function readPeriod(node: DocumentNode): Validity {
  node.only('start', 'end');
  const startMs = readInstant(node.field('start'));
  const end = present(node, 'end');
  return end === undefined ? { startMs } : { startMs, endMs: readInstant(end) };
}

/** Protobuf writes up to nine digits after the point; milliseconds are what is compared. */
function readInstant(node: DocumentNode): number {
  const ms = parseInstantMs(node.string().replace(/(\.\d{3})\d{1,6}Z$/, '$1Z'));
  if (ms === undefined) throw node.wrong('expected a time like 2026-01-31T12:00:00Z');
  return ms;
}

function decode(node: DocumentNode): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  return bytes;
}
