// SPDX-License-Identifier: Apache-2.0
// Whole bundles of the forge: sound unless a part is given, and everything that follows from a part is signed over it.

import { utf8 } from '../../../core/encoding/utf8.ts';
import { preAuthEncoding } from '../../../core/sigstore/bundle.ts';
import { type Artifact, STRICT_POLICY } from '../../../core/verify/evidence.ts';
import type { VerifiedSignature } from '../../../core/verify/verified-signature.ts';
import { type BundleTrust, signatureVerifier } from '../../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../../peers/node-crypto.ts';
import { formatPem } from '../../../registry/trust/authority.ts';
import { sha256 } from '../../../registry/trust/certificate.ts';
import { type Forge, leafOf, PAYLOAD_TYPE, type Signer, STATEMENT } from './forge.ts';
import { timestamp } from './forged-timestamp.ts';

/** Verifies bundles with the forge's own trusted root, which is read once, everything demanded. */
export function forgedVerifier(forge: Forge): (bundle: Uint8Array) => VerifiedSignature {
  const trust = { trustedRoot: forge.trustedRoot(), keys: [], policy: STRICT_POLICY };
  const verifier = signatureVerifier(trust, nodeCrypto);
  return (bundle) => verifier.verify(bundle);
}

/** Verifies a bundle with the forge's own trusted root, everything demanded, unless told otherwise. */
export function verifyForged(
  forge: Forge,
  bundle: Uint8Array,
  trust: Partial<BundleTrust> & { readonly artifact?: Artifact } = {},
): VerifiedSignature {
  const { trustedRoot = forge.trustedRoot(), keys = [], policy = STRICT_POLICY, artifact } = trust;
  return signatureVerifier({ trustedRoot, keys, policy }, nodeCrypto).verify(bundle, artifact);
}

const b64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
// biome-ignore lint/suspicious/noExplicitAny: a document that is being bent has no shape.
type Bent = any;

/** What may be given in place of the sound part. */
export interface BundleParts {
  readonly signer?: Signer;
  readonly payload?: Uint8Array;
  readonly payloadType?: string;
  readonly signature?: Uint8Array;
  readonly timestamps?: (signature: Uint8Array) => readonly Uint8Array[];
  readonly entries?: (leaf: Uint8Array, signature: Uint8Array) => readonly Bent[];
  /** The last word on the JSON. */
  readonly change?: (bundle: Bent) => void;
}

/** A signer with a certificate of the forge. */
export function certifiedSigner(forge: Forge, ...how: Parameters<Forge['signer']>): Signer {
  const { der, key } = forge.signer(...how);
  return { key, certificate: der };
}

/** The hint of a listed key. */
export const hintOf = (spki: Uint8Array) => Buffer.from(sha256(spki)).toString('hex');

/** Sound timestamps over a signature. */
export const dated = (forge: Forge) => (signature: Uint8Array) => [
  timestamp(forge.tsa, forge.tsaRoot.name, signature),
];

/** A bundle of a statement, version 0.3. */
export function forgeBundle(forge: Forge, parts: BundleParts = {}): Uint8Array {
  const signer = parts.signer ?? certifiedSigner(forge);
  const payload = parts.payload ?? STATEMENT;
  const payloadType = parts.payloadType ?? PAYLOAD_TYPE;
  const signature = parts.signature ?? signer.key.sign(preAuthEncoding(payloadType, payload));
  const leaf = leafOf(signer, signature, payload, payloadType);
  const keyed = signer.certificate === undefined;
  const hint = hintOf(signer.key.spki);
  const bundle = {
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: {
      ...(keyed
        ? { publicKey: { hint } }
        : { certificate: { rawBytes: b64(signer.certificate as Uint8Array) } }),
      tlogEntries: parts.entries?.(leaf, signature) ?? [forge.entry(leaf)],
      timestampVerificationData: {
        rfc3161Timestamps: (parts.timestamps ?? dated(forge))(signature).map((one) => ({
          signedTimestamp: b64(one),
        })),
      },
    },
    dsseEnvelope: {
      payload: b64(payload),
      payloadType,
      signatures: [{ sig: b64(signature), ...(keyed ? { keyid: hint } : {}) }],
    },
  };
  parts.change?.(bundle);
  return utf8(JSON.stringify(bundle));
}

/** The PEM that Rekor v1 keeps of a signer, in base64. */
export function pemOf(signer: Signer): string {
  const pem =
    signer.certificate === undefined
      ? formatPem(signer.key.spki).replaceAll('CERTIFICATE', 'PUBLIC KEY')
      : formatPem(signer.certificate);
  return b64(utf8(pem));
}

/** The body of an entry of Rekor v1, hashedrekord 0.0.1. */
export const hashedRekordV1 = (signer: Signer, digest: Uint8Array, signature: Uint8Array): Uint8Array =>
  utf8(
    JSON.stringify({
      apiVersion: '0.0.1',
      kind: 'hashedrekord',
      spec: {
        data: { hash: { algorithm: 'sha256', value: Buffer.from(digest).toString('hex') } },
        signature: { content: b64(signature), publicKey: { content: pemOf(signer) } },
      },
    }),
  );
