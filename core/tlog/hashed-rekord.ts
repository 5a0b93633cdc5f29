// SPDX-License-Identifier: Apache-2.0
// The one leaf form of the signature log: hashedrekord 0.0.2 [Rekor-v2 §rekor.v2.HashedRekordLogEntryV002], canonical JSON
// [RFC8785 §3.2] of the protobuf JSON. Stricter than [Rekor-v2]: ECDSA P-256 with SHA-256 alone, one spelling per entry.

import { base64Decode, base64Encode } from '../encoding/base64.ts';
import { type DocumentNode, parseDocument } from '../encoding/document.ts';
import { utf8 } from '../encoding/utf8.ts';
import { LIMITS } from '../limits.ts';
import { TLOG } from './faults.ts';
import { sameBytes } from './merkle.ts';

/** Kind and version as Rekor names them. */
export const HASHED_REKORD = { kind: 'hashedrekord', apiVersion: '0.0.2' } as const;

/** What a signature was made with, in Sigstore's word. */
export type KeyDetails = 'PKIX_ECDSA_P256_SHA_256';

/** "This key signed what has this digest." Unauthenticated until the signature is verified. */
export interface HashedRekord {
  /** SHA-256, 32 bytes; of the pre-authentication encoding for a DSSE envelope [DSSE-v1.0.2 §Signature definition]. */
  readonly digest: Uint8Array;
  /** DER. */
  readonly signature: Uint8Array;
  /** DER of the certificate, or of the SubjectPublicKeyInfo. */
  readonly verifier: { readonly certificate: Uint8Array } | { readonly publicKey: Uint8Array };
  readonly keyDetails: KeyDetails;
}

/** The same, each value in canonical base64. */
export interface HashedRekordText {
  readonly digest: string;
  readonly signature: string;
  readonly verifier: { readonly certificate: string } | { readonly publicKey: string };
  readonly keyDetails: KeyDetails;
}

/** The leaf's bytes; `parseHashedRekord` is the inverse. */
export function formatHashedRekord({ digest, signature, verifier, keyDetails }: HashedRekord): Uint8Array {
  return utf8(
    hashedRekordText({
      digest: base64Encode(digest),
      signature: base64Encode(signature),
      verifier:
        'certificate' in verifier
          ? { certificate: base64Encode(verifier.certificate) }
          : { publicKey: base64Encode(verifier.publicKey) },
      keyDetails,
    }),
  );
}

/**
 * The leaf, all of it ASCII. Written out, since no value in it needs an escape and a log writes it for each entry: members in the order of
 * [RFC8785 §3.2.3].
 */
export function hashedRekordText({ digest, signature, verifier, keyDetails }: HashedRekordText): string {
  const { apiVersion, kind } = HASHED_REKORD;
  const members =
    'certificate' in verifier
      ? `"keyDetails":"${keyDetails}","x509Certificate":{"rawBytes":"${verifier.certificate}"}`
      : `"keyDetails":"${keyDetails}","publicKey":{"rawBytes":"${verifier.publicKey}"}`;
  return (
    `{"apiVersion":"${apiVersion}","kind":"${kind}","spec":{"hashedRekordV002":{` +
    `"data":{"algorithm":"SHA2_256","digest":"${digest}"},` +
    `"signature":{"content":"${signature}","verifier":{${members}}}}}}`
  );
}

/** Parses a leaf; bytes that `formatHashedRekord` would not give are refused. @throws TLOG_LEAF_MALFORMED */
export function parseHashedRekord(leaf: Uint8Array): HashedRekord {
  const refuse = (message: string, at: string) => TLOG.reject('TLOG_LEAF_MALFORMED', message, { at });
  const root = parseDocument(leaf, { refuse }, LIMITS.logEntrySizeBytes);
  root.only('apiVersion', 'kind', 'spec');
  root.field('apiVersion').word(HASHED_REKORD.apiVersion);
  root.field('kind').word(HASHED_REKORD.kind);
  const spec = root
    .field('spec')
    .only('hashedRekordV002')
    .field('hashedRekordV002')
    .only('data', 'signature');
  const data = spec.field('data').only('algorithm', 'digest');
  data.field('algorithm').word('SHA2_256');
  const digest = decode(data.field('digest'));
  if (digest.length !== 32) throw data.field('digest').wrong('expected 32 bytes');
  const signature = spec.field('signature').only('content', 'verifier');
  const verifier = signature.field('verifier').only('keyDetails', 'x509Certificate', 'publicKey');
  const certificate = verifier.optional('x509Certificate')?.only('rawBytes').field('rawBytes');
  const publicKey = verifier.optional('publicKey')?.only('rawBytes').field('rawBytes');
  if ((certificate === undefined) === (publicKey === undefined)) {
    throw verifier.wrong('expected either a certificate or a public key');
  }
  const entry: HashedRekord = {
    digest,
    signature: decode(signature.field('content')),
    verifier:
      certificate === undefined
        ? { publicKey: decode(publicKey as DocumentNode) }
        : { certificate: decode(certificate) },
    keyDetails: verifier.field('keyDetails').word('PKIX_ECDSA_P256_SHA_256'),
  };
  if (!sameBytes(formatHashedRekord(entry), leaf)) throw refuse('expected canonical JSON', 'offset 0');
  return entry;
}

function decode(node: DocumentNode): Uint8Array {
  const bytes = base64Decode(node.string());
  if (bytes === undefined) throw node.wrong('expected canonical base64');
  return bytes;
}
