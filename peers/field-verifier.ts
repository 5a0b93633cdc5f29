// SPDX-License-Identifier: Apache-2.0
// The field's verifier of bundles, @sigstore/verify with thresholds of one SCT, one log entry and one timestamp, as a second
// opinion on what core accepts.

import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { hexEncode } from '../core/encoding/hex.ts';
import { utf8Decode } from '../core/encoding/utf8.ts';
import { quote } from '../core/faults.ts';
import type { AttestationTrust } from '../core/verify/attestation-verifier.ts';
import { type EvidencePolicy, STRICT_POLICY } from '../core/verify/evidence.ts';
import { PEERS } from './faults.ts';
import { nodeCrypto } from './node-crypto.ts';

/** Checks a bundle that core accepted. */
export interface SecondOpinion {
  /** `artifact` is what a signature over an artifact needs. @throws SIGSTORE_VERIFIERS_DISAGREE */
  check(bundle: Uint8Array, artifact?: Uint8Array): void;
}

/**
 * The library under the same trust as core, and with the same demands.
 * @throws SIGSTORE_VERIFIERS_DISAGREE if it cannot read the trusted root
 */
export function fieldVerifier(
  { trustedRoot, keys }: AttestationTrust,
  policy: EvidencePolicy = STRICT_POLICY,
): SecondOpinion {
  const count = (kind: keyof EvidencePolicy) => (policy[kind] === 'required' ? 1 : 0);
  const options = {
    ctlogThreshold: count('certificateLog'),
    tlogThreshold: count('log'),
    // With a log's word as the only time, that is what is counted.
    timestampThreshold: 1,
  };
  const verifier = agreeing(() => {
    const listed = keys.map((spki) => [
      hexEncode(nodeCrypto.sha256(spki)),
      { rawBytes: Buffer.from(spki), keyDetails: 5 /* PKIX_ECDSA_P256_SHA_256 */ },
    ]);
    return new Verifier(
      toTrustMaterial(TrustedRoot.fromJSON(parse(trustedRoot)), Object.fromEntries(listed)),
      options,
    );
  });
  return {
    check(bytes, artifact) {
      const data = artifact === undefined ? undefined : Buffer.from(artifact);
      agreeing(() => verifier.verify(toSignedEntity(bundleFromJSON(parse(bytes)), data)));
    },
  };
}

/** Bytes that core has read strictly: no name twice, no foreign number. */
function parse(bytes: Uint8Array): unknown {
  return JSON.parse(utf8Decode(bytes) ?? '');
}

/** The library throws errors of many kinds; all of them mean that it does not agree. */
function agreeing<T>(ask: () => T): T {
  try {
    return ask();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw PEERS.reject(
      'SIGSTORE_VERIFIERS_DISAGREE',
      `expected @sigstore/verify to accept what core accepts, got ${quote(reason)}`,
      { cause },
    );
  }
}
