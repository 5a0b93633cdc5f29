// SPDX-License-Identifier: Apache-2.0
// Results of verification [docs/spec/verification.md §Results]: types that nothing outside a verifier can make.

import type { Statement } from '../intoto/statement.ts';
import type { OpenedBundle } from './opened-bundle.ts';
import type { VerifiedSignature } from './verified-signature.ts';

declare const verified: unique symbol;

/** Who signed: a certificate's identity and issuer, or a key by its DER SubjectPublicKeyInfo. */
export type VerifiedSigner =
  | {
      readonly kind: 'certificate';
      /** Subject alternative name, as a string. */
      readonly identity: string;
      /** OIDC issuer [Fulcio-OIDs §1.3.6.1.4.1.57264.1.8]. */
      readonly issuer: string;
    }
  | { readonly kind: 'key'; readonly publicKey: Uint8Array };

/**
 * A bundle whose signature, certificate chain with SCT (or listed key), timestamp and log entry were verified against a
 * trusted root. The statement is what the signer signed.
 */
export interface VerifiedBundle {
  readonly [verified]: true;
  /** SHA-256 of the bundle's bytes, lower-case hex. */
  readonly sha256: string;
  readonly signer: VerifiedSigner;
  readonly statement: Statement;
  readonly leafIndex: bigint;
  /** The log entry, rebuilt from the bundle and equal to what the log signed. */
  readonly leaf: Uint8Array;
  /** The verified signing time, milliseconds since 1970. */
  readonly signedAtMs: number;
  /** All that was learned: certificate, times, log entries, what was waived. */
  readonly evidence: VerifiedSignature;
}

/** Only verifiers call this (tidy checks who): everything but the brand. */
export function asVerifiedBundle(facts: Omit<VerifiedBundle, typeof verified>): VerifiedBundle {
  return facts as VerifiedBundle;
}

/** Verifies one bundle in full. */
export interface BundleVerifier {
  /** @throws Rejection with the code of the first broken link */
  verify(bundle: Uint8Array | OpenedBundle): VerifiedBundle;
}
