// SPDX-License-Identifier: Apache-2.0
// The verifier of Sigstore bundles [docs/spec/verification.md §Bundle]: an ordered list of steps, one line each. The first that refuses says why.

import type { Crypto } from '../crypto.ts';
import { SIGSTORE } from '../sigstore/faults.ts';
import { parseTrustedRoot, type TrustedRoot } from '../sigstore/trusted-root.ts';
import {
  type Artifact,
  type EvidencePolicy,
  type Given,
  type Learned,
  type ListedKey,
  type Step,
  signerOf,
  waivedBy,
} from './evidence.ts';
import { checkLogPeriods, compareEntries, requireEntries, verifyInclusion } from './log-steps.ts';
import { OpenedBundle } from './opened-bundle.ts';
import {
  findSigner,
  matchArtifact,
  readSignedContent,
  verifyCertificateLog,
  verifyContentSignature,
  verifySignerTrust,
} from './signer-steps.ts';
import { requireTime, signedAtMs, verifyPromises, verifyTimestamps } from './time-steps.ts';
import { asVerifiedSignature, type VerifiedSignature } from './verified-signature.ts';

/** The steps in order, with their names. Times come before certificates, which are valid at times; signatures before the meaning of what they cover. */
export const STEPS = [
  ['artifact', matchArtifact], //              the artifact is the one that the bundle means
  ['signer', findSigner], //                   the certificate names an identity, or the hint a listed key
  ['timestamps', verifyTimestamps], //         authorities of the trusted root dated the signature
  ['promises', verifyPromises], //             logs of the trusted root promised the entries, and dated them
  ['time', requireTime], //                    one trusted time, at least
  ['trust', verifySignerTrust], //             the certificate leads to an authority, the key was in force: at each of the times
  ['certificate log', verifyCertificateLog], //  the certificate was logged before it was issued
  ['signature', verifyContentSignature], //    the signer's key signed what the bundle holds
  ['entries', requireEntries], //              one log entry, at least, and none twice
  ['inclusion', verifyInclusion], //           the entries stand in the logs
  ['comparison', compareEntries], //           the entries are about this bundle, its signature and its signer
  ['log periods', checkLogPeriods], //         the logs were trusted when the entries were made
  ['content', readSignedContent], //           a statement about the artifact, or the artifact itself
] as const satisfies readonly NamedStep[];

/** A step and its name in [docs/spec/verification.md §Steps]. */
export type NamedStep = readonly [name: string, step: Step];

/** Whom a verifier trusts, and what it demands. */
export interface BundleTrust {
  /** The bytes of trusted_root.json, authenticated by whoever gives them. */
  readonly trustedRoot: Uint8Array;
  /** Keys that may sign without a certificate; often none. */
  readonly keys: readonly ListedKey[];
  readonly policy: EvidencePolicy;
}

/** Verifies bundles under one trust. */
export interface SignatureVerifier {
  /**
   * Verifies one bundle, of a statement or, if the artifact is given, of that artifact. `begun` hears the name of each step before it.
   * @throws Rejection with the code of the first step that refuses
   */
  verify(
    bundle: Uint8Array | OpenedBundle,
    artifact?: Artifact,
    begun?: (step: string) => void,
  ): VerifiedSignature;
}

/**
 * Makes a verifier. What is common to bundles, the authorities' own chains, is verified once.
 * @throws SIGSTORE_TRUSTED_ROOT_MALFORMED, SIGSTORE_TRUSTED_ROOT_INCOMPLETE, SIGSTORE_POLICY_WITHOUT_TIME
 */
export function signatureVerifier(
  { trustedRoot, keys, policy }: BundleTrust,
  crypto: Crypto,
  steps: readonly NamedStep[] = STEPS,
): SignatureVerifier {
  if (policy.timestamps === 'none' && policy.log === 'none') {
    throw SIGSTORE.reject(
      'SIGSTORE_POLICY_WITHOUT_TIME',
      'expected timestamps or log entries to be demanded, got neither',
    );
  }
  const root = parseTrustedRoot(trustedRoot);
  checkComplete(root, policy);
  return {
    verify(bundle, artifact, begun) {
      const opened = OpenedBundle.of(bundle, crypto);
      const given: Given = { bundle: opened.parts, opened, root, keys, policy, artifact, crypto };
      const learned: Learned = { times: [], certificateLogs: [], entries: [] };
      for (const [name, step] of steps) {
        begun?.(name);
        step(given, learned);
      }
      return conclude(given, learned);
    },
  };
}

/** A kind of evidence that is demanded and that nobody could give is an error of whoever configured it. */
function checkComplete(root: TrustedRoot, policy: EvidencePolicy): void {
  const demanded = {
    certificateAuthorities: true,
    timestampAuthorities: policy.timestamps === 'required',
    tlogs: policy.log === 'required',
    ctlogs: policy.certificateLog === 'required',
  };
  const listed = {
    certificateAuthorities: root.certificateAuthorities,
    timestampAuthorities: root.timestampAuthorities,
    tlogs: root.signatureLogs,
    ctlogs: root.certificateLogs,
  };
  for (const name of Object.keys(listed) as (keyof typeof listed)[]) {
    if (!demanded[name] || listed[name].length > 0) continue;
    throw SIGSTORE.reject('SIGSTORE_TRUSTED_ROOT_INCOMPLETE', 'expected at least one element, got none', {
      at: `/${name}`,
    });
  }
}

function conclude({ opened, policy }: Given, learned: Learned): VerifiedSignature {
  const { times, entries, content, certificateLogs } = learned;
  if (content === undefined) throw new TypeError('no step has read the content');
  const signer = signerOf(learned);
  const certificate = signer.kind === 'key' ? undefined : { ...signer.identity, certificateLogs };
  return asVerifiedSignature({
    sha256: opened.sha256(),
    signer:
      certificate === undefined
        ? { kind: 'key', publicKey: signer.publicKey }
        : { kind: 'certificate', identity: certificate.identity, issuer: certificate.issuer },
    certificate,
    signedAtMs: signedAtMs(times),
    times,
    entries,
    content,
    waived: waivedBy(policy),
  });
}
