// SPDX-License-Identifier: Apache-2.0
// Which of the statements found about an image count [docs/spec/policy.md §Selection]. Anyone with an account at the
// certificate authority can attest anything about any digest; what they say neither helps nor blocks a release.

import { Rejection } from '../core/faults.ts';
import {
  isTrustedBuilder,
  provenanceOf,
  type SbomEvidence,
  type StepEvidence,
  sbomReferencesOf,
} from '../core/verify/release-checks.ts';
import type { VerifiedBundle, VerifiedSigner } from '../core/verify/verified.ts';
import type { Policy } from './policy.ts';

/** True if the policy names this identity for any builder: only what such a signer says must be understood. */
function isKnownSigner(signer: VerifiedSigner, policy: Policy): boolean {
  return policy.builders.some(({ builderId }) => isTrustedBuilder(builderId, signer, policy));
}

/**
 * The evidence without statements of strangers that are not provenance or SBOM references of the known versions: nobody
 * whom the policy does not name can make evidence unreadable.
 */
export function withoutNoise(evidence: readonly VerifiedBundle[], policy: Policy): readonly VerifiedBundle[] {
  return evidence.filter((bundle) => isKnownSigner(bundle.signer, policy) || isReadable(bundle));
}

function isReadable(bundle: VerifiedBundle): boolean {
  try {
    return provenanceOf([bundle]).length + sbomReferencesOf([bundle]).length > 0;
  } catch (failure) {
    if (failure instanceof Rejection) return false;
    throw failure;
  }
}

/** What counts; the rest is set aside. */
export interface Selection<E> {
  readonly used: readonly E[];
}

/**
 * For each step the provenance of trusted builders about this product and version. Where a step that the policy names has
 * none, everything said about it is kept, so that the rules can say what is wrong with it.
 */
export function selectSteps(
  found: readonly StepEvidence[],
  policy: Policy,
  version: string,
): Selection<StepEvidence> {
  const counts = (step: StepEvidence) =>
    step.product === policy.product &&
    step.version === version &&
    isTrustedBuilder(step.builderId, step.bundle.signer, policy);
  const answered = new Set(found.filter(counts).map(({ step }) => step));
  const blamed = (step: StepEvidence) => policy.steps.includes(step.step) && !answered.has(step.step);
  return { used: found.filter((step) => counts(step) || blamed(step)) };
}

/** The SBOM references of trusted builders; all of them where no trusted builder made any. */
export function selectReferences(found: readonly SbomEvidence[], policy: Policy): Selection<SbomEvidence> {
  const counts = (reference: SbomEvidence) =>
    isTrustedBuilder(reference.attesterId, reference.bundle.signer, policy);
  const answered = found.some(counts);
  return { used: found.filter((reference) => counts(reference) || !answered) };
}
