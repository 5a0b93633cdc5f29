// SPDX-License-Identifier: Apache-2.0
// Who lets evidence in on a server or a desk asks both verifiers, and both must accept [docs/spec/verification.md §Who verifies].

import { type AttestationTrust, attestationVerifier } from '../core/verify/attestation-verifier.ts';
import type { BundleVerifier } from '../core/verify/verified.ts';
import { fieldVerifier } from './field-verifier.ts';
import { nodeCrypto } from './node-crypto.ts';

/**
 * core first, whose codes say what is wrong and whose result says what was learned; then the field's verifier.
 * @throws SIGSTORE_TRUSTED_ROOT_MALFORMED, SIGSTORE_TRUSTED_ROOT_INCOMPLETE, SIGSTORE_VERIFIERS_DISAGREE
 */
export function bothVerifiers(trust: AttestationTrust): BundleVerifier {
  const ours = attestationVerifier(trust, nodeCrypto);
  const theirs = fieldVerifier(trust);
  return {
    verify(bundle) {
      const verified = ours.verify(bundle);
      theirs.check(bundle instanceof Uint8Array ? bundle : bundle.bytes);
      return verified;
    },
  };
}
