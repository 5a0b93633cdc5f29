// SPDX-License-Identifier: Apache-2.0
// The verdict of @sigstore/verify on a bundle, with its default thresholds, and that of core on the same: one for each question.

import { createHash } from 'node:crypto';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { Rejection } from '../../core/faults.ts';
import type { EvidencePolicy, ListedKey } from '../../core/verify/evidence.ts';
import { signatureVerifier } from '../../core/verify/verify-bundle.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';

/** A bundle and what it is verified against. */
export interface Question {
  readonly bundle: Uint8Array;
  readonly trustedRoot: Uint8Array;
  readonly keys: readonly ListedKey[];
  /** Needed where an artifact was signed. */
  readonly artifact: Uint8Array;
}

/** The defaults of the library: one log entry, one certificate timestamp, one time, be it of a log. */
const POLICY: EvidencePolicy = { timestamps: 'none', log: 'required', certificateLog: 'required' };

/** Both verifiers under one trust; each answers `accepted` or why not. */
export function bothVerdicts(trust: Omit<Question, 'bundle'>): {
  readonly library: (bundle: Uint8Array) => string;
  readonly core: (bundle: Uint8Array) => string;
} {
  const { trustedRoot, keys, artifact } = trust;
  const listed = keys.flatMap(({ publicKey }) => {
    const digest = createHash('sha256').update(publicKey).digest();
    const key = { rawBytes: Buffer.from(publicKey), keyDetails: 5 /* PKIX_ECDSA_P256_SHA_256 */ };
    return [digest.toString('hex'), digest.toString('base64')].map((hint) => [hint, key] as const);
  });
  const material = toTrustMaterial(
    TrustedRoot.fromJSON(JSON.parse(Buffer.from(trustedRoot).toString())),
    Object.fromEntries(listed),
  );
  const verifier = new Verifier(material);
  const ours = signatureVerifier({ trustedRoot, keys, policy: POLICY }, nodeCrypto);
  return {
    library(bytes) {
      try {
        const bundle = bundleFromJSON(JSON.parse(Buffer.from(bytes).toString()));
        verifier.verify(toSignedEntity(bundle, Buffer.from(artifact)));
        return 'accepted';
      } catch (failure) {
        return failure instanceof Error ? failure.message : String(failure);
      }
    },
    core(bytes) {
      try {
        ours.verify(bytes, isOfArtifact(bytes) ? { bytes: artifact } : undefined);
        return 'accepted';
      } catch (failure) {
        // Anything but a refusal is a fault of core, and fails whoever asks.
        if (failure instanceof Rejection) return failure.code;
        throw failure;
      }
    },
  };
}

/** The library does not compare the subjects of statements with an artifact, so core is not asked to either. */
function isOfArtifact(bundle: Uint8Array): boolean {
  return Buffer.from(bundle).includes('"messageSignature"');
}
