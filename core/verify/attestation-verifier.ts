// SPDX-License-Identifier: Apache-2.0
// The verifier of what Waybill makes [docs/spec/verification.md §Bundle]: bundles of its one form, every kind of evidence demanded.

import type { Crypto } from '../crypto.ts';
import { readOwnForm } from '../sigstore/bundle.ts';
import { STRICT_POLICY } from './evidence.ts';
import { asVerifiedBundle, type BundleVerifier } from './verified.ts';
import { type NamedStep, STEPS, signatureVerifier } from './verify-bundle.ts';

/** Whom to believe. */
export interface AttestationTrust {
  /** The bytes of trusted_root.json, authenticated by TUF. */
  readonly trustedRoot: Uint8Array;
  /** Listed keys (DER SubjectPublicKeyInfo, P-256) that may sign without a certificate; often none. */
  readonly keys: readonly Uint8Array[];
}

/** The bundle is of the form that Waybill makes. */
const FORM: NamedStep = ['own form', ({ bundle }) => void readOwnForm(bundle)];

/**
 * Makes a verifier for one trusted root.
 * @throws SIGSTORE_TRUSTED_ROOT_MALFORMED, SIGSTORE_TRUSTED_ROOT_INCOMPLETE
 */
export function attestationVerifier({ trustedRoot, keys }: AttestationTrust, crypto: Crypto): BundleVerifier {
  const listed = keys.map((publicKey) => ({ publicKey }));
  const trust = { trustedRoot, keys: listed, policy: STRICT_POLICY };
  const verifier = signatureVerifier(trust, crypto, [FORM, ...STEPS]);
  return {
    verify(bundle) {
      const evidence = verifier.verify(bundle);
      const { sha256, signer, signedAtMs, content, entries } = evidence;
      const [entry] = entries;
      if (content.kind !== 'statement' || entry === undefined) {
        throw new TypeError('a bundle of this form holds a statement and an entry');
      }
      const { index: leafIndex, leaf } = entry;
      return asVerifiedBundle({
        sha256,
        signer,
        statement: content.statement,
        leafIndex,
        leaf,
        signedAtMs,
        evidence,
      });
    },
  };
}
