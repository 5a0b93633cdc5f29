// SPDX-License-Identifier: Apache-2.0
// Sigstore bundle v0.3 [sigstore-bundle-v0.3 §Bundle] with one DSSE envelope [DSSE-v1.0.2 §Protocol] and one log entry.
// Stricter than [sigstore-bundle-v0.3 §Bundle]: v0.1, v0.2, message signatures, several signatures or several log
// entries are refused here; nothing that Waybill makes needs them.

import { base64Decode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { utf8 } from '../encoding/utf8.ts';
import { CORE } from '../faults.ts';
import { LIMITS } from '../limits.ts';

export const BUNDLE_MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';

/** The parts of a bundle. Unauthenticated. */
export interface SigstoreBundle {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  /** DER of the leaf certificate, or the hint that names a key known to the verifier. */
  readonly verifier: { readonly certificate: Uint8Array } | { readonly keyHint: string };
  readonly leafIndex: bigint;
  /** The log entry's bytes as the bundle gives them. */
  readonly leaf: Uint8Array;
  readonly logId: Uint8Array;
}

/** Parses a bundle. @throws SIGSTORE_BUNDLE_MALFORMED */
export function parseBundle(bytes: Uint8Array): SigstoreBundle {
  const refuse = (message: string, at: string) => CORE.reject('SIGSTORE_BUNDLE_MALFORMED', message, { at });
  const root = parseDocument(bytes, { refuse }, LIMITS.bundleSizeBytes);
  root.only('mediaType', 'verificationMaterial', 'dsseEnvelope');
  root.field('mediaType').word(BUNDLE_MEDIA_TYPE);
  const material = root.field('verificationMaterial');
  material.only('certificate', 'publicKey', 'tlogEntries', 'timestampVerificationData');
  const envelope = root.field('dsseEnvelope').only('payloadType', 'payload', 'signatures');
  const entry = single(material.field('tlogEntries'));
  return {
    payloadType: envelope.field('payloadType').string(),
    payload: decode(envelope.field('payload')),
    signature: decode(single(envelope.field('signatures')).field('sig')),
    verifier: parseVerifier(material),
    // Protobuf JSON leaves out zero: entry 0 has no logIndex.
    leafIndex: BigInt(entry.optional('logIndex')?.matching(/^(0|[1-9][0-9]{0,15})$/, 'a log index') ?? '0'),
    leaf: decode(entry.field('canonicalizedBody')),
    logId: decode(entry.field('logId').field('keyId')),
  };
}

function parseVerifier(material: DocumentNode): SigstoreBundle['verifier'] {
  const certificate = material.optional('certificate');
  const key = material.optional('publicKey');
  if ((certificate === undefined) === (key === undefined)) {
    throw material.wrong('expected either a certificate or a public key');
  }
  if (certificate !== undefined) return { certificate: decode(certificate.field('rawBytes')) };
  return { keyHint: material.field('publicKey').field('hint').string() };
}

function single(node: DocumentNode): DocumentNode {
  const [first, ...more] = node.someElements();
  if (first === undefined || more.length > 0)
    throw node.wrong(`expected exactly one element, got ${more.length + 1}`);
  return first;
}

function decode(node: DocumentNode): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  return bytes;
}

/** Pre-authentication encoding [DSSE-v1.0.2 §Signature definition]: the bytes that the signature covers. */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8(payloadType);
  const head = utf8(`DSSEv1 ${type.length} ${payloadType} ${payload.length} `);
  const out = new Uint8Array(head.length + payload.length);
  out.set(head);
  out.set(payload, head.length);
  return out;
}
