// SPDX-License-Identifier: Apache-2.0
// The bundle that Waybill makes and takes: Sigstore bundle v0.3 [sigstore-bundle-v0.3 §Bundle] with a DSSE envelope [DSSE-v1.0.2 §Protocol] and one
// log entry of Rekor v2. Stricter than [sigstore-bundle-v0.3 §Bundle]: v0.1, v0.2, message signatures, several log entries and those
// of other kinds or with a promise are refused; nothing that Waybill makes needs them.

import { utf8 } from '../encoding/utf8.ts';
import { CORE, quote } from '../faults.ts';
import { HASHED_REKORD } from '../tlog/hashed-rekord.ts';
import { type AnyBundle, parseAnyBundle } from './any-bundle.ts';

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
  return readOwnForm(parseAnyBundle(bytes));
}

/** The parts of a bundle that is of this form. @throws SIGSTORE_BUNDLE_MALFORMED */
export function readOwnForm({ mediaType, content, signer, signature, entries }: AnyBundle): SigstoreBundle {
  const refuse = (message: string, at: string) => CORE.reject('SIGSTORE_BUNDLE_MALFORMED', message, { at });
  if (mediaType !== BUNDLE_MEDIA_TYPE) {
    throw refuse(`expected ${quote(BUNDLE_MEDIA_TYPE)}, got ${quote(mediaType)}`, '/mediaType');
  }
  if (content.kind !== 'dsse')
    throw refuse('expected an envelope, got a message signature', '/messageSignature');
  const [entry, ...more] = entries;
  if (entry === undefined || more.length > 0) {
    throw refuse(`expected exactly one element, got ${entries.length}`, '/verificationMaterial/tlogEntries');
  }
  const { kind, version, promise } = entry;
  if (kind !== HASHED_REKORD.kind || version !== HASHED_REKORD.apiVersion || promise !== undefined) {
    const got = `${quote(kind)} ${quote(version)}${promise === undefined ? '' : ' with a promise'}`;
    throw refuse(
      `expected ${HASHED_REKORD.kind} ${HASHED_REKORD.apiVersion}, got ${got}`,
      '/verificationMaterial/tlogEntries/0',
    );
  }
  return {
    payloadType: content.payloadType,
    payload: content.payload,
    signature,
    verifier: signer.kind === 'key' ? { keyHint: signer.hint } : { certificate: signer.certificate },
    leafIndex: entry.index,
    leaf: entry.body,
    logId: entry.logId,
  };
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
