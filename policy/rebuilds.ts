// SPDX-License-Identifier: Apache-2.0
// Independent rebuilds [docs/spec/policy.md §Rebuilders]: who counts as a rebuilder, which of their statements speak of this
// build, and whether enough of them agree. Identities are counted, never statements.

import { base64Encode } from '../core/encoding/base64.ts';
import { Rejection } from '../core/faults.ts';
import { parseRebuildReport, REBUILD_TYPE, type RebuildReport } from '../core/intoto/rebuild.ts';
import { describeSigner, type StepEvidence } from '../core/verify/release-checks.ts';
import type { VerifiedBundle, VerifiedSigner } from '../core/verify/verified.ts';
import { POLICY } from './faults.ts';
import type { Policy, Rebuilder } from './policy.ts';

/** A rebuild statement of a rebuilder that the policy names. */
export interface RebuildEvidence extends RebuildReport {
  readonly rebuilder: Rebuilder;
  readonly bundle: VerifiedBundle;
}

/** What is asked about. */
export interface RebuiltRelease {
  readonly policy: Policy;
  readonly imageSha256: string;
  readonly version: string;
}

/**
 * The rebuilds that count: by a listed rebuilder, who is none of the builders, about this release, from the definition and the
 * lock that the counted provenance names. Without the last, a stranger's provenance could make a rebuilder differ.
 */
export function selectRebuilds(
  evidence: readonly VerifiedBundle[],
  steps: readonly StepEvidence[],
  release: RebuiltRelease,
): readonly RebuildEvidence[] {
  const { policy, imageSha256, version } = release;
  return evidence
    .filter(({ statement }) => statement.predicateType === REBUILD_TYPE)
    .flatMap((bundle) => read(bundle, policy))
    .filter(
      (report) =>
        report.image.sha256 === imageSha256 &&
        report.product === policy.product &&
        report.version === version &&
        steps.length > 0 &&
        steps.every((step) => isBuiltFrom(step, report)),
    );
}

/**
 * Says who agrees. A rebuilder that differs denies, whatever else it says.
 * @throws POLICY_REBUILD_DIFFERS, POLICY_REBUILDS_TOO_FEW
 */
export function checkRebuilds(rebuilds: readonly RebuildEvidence[], policy: Policy): string {
  const differing = rebuilds.find(({ verdict }) => verdict === 'differs');
  if (differing !== undefined) {
    const [first] = differing.differences;
    const where = first === undefined ? '' : `, first at byte ${first.offset} of ${first.output}`;
    throw POLICY.reject(
      'POLICY_REBUILD_DIFFERS',
      `expected rebuilds that agree, ${describeSigner(differing.bundle.signer)} got another image${where}`,
    );
  }
  // A policy that names none cannot ask this rule; if it does, nothing is enough.
  const threshold = policy.rebuilders === 'none' ? Number.POSITIVE_INFINITY : policy.rebuilders.threshold;
  const agreeing = new Set(rebuilds.map(({ rebuilder }) => rebuilder)).size;
  if (!(agreeing >= threshold)) {
    throw POLICY.reject(
      'POLICY_REBUILDS_TOO_FEW',
      `expected ${threshold} independent rebuilders to agree, got ${agreeing}`,
    );
  }
  return `${agreeing} independent ${agreeing === 1 ? 'rebuilder agrees' : 'rebuilders agree'}, ${threshold} asked`;
}

function read(bundle: VerifiedBundle, policy: Policy): readonly RebuildEvidence[] {
  const rebuilder = rebuilderOf(bundle.signer, policy);
  if (rebuilder === undefined) return [];
  try {
    return [{ ...parseRebuildReport(bundle.statement), rebuilder, bundle }];
  } catch (failure) {
    // What cannot be read agrees with nothing.
    if (failure instanceof Rejection) return [];
    throw failure;
  }
}

/** The entry of the policy that this signer is; undefined for strangers and for the builders themselves. */
function rebuilderOf(signer: VerifiedSigner, { rebuilders, builders }: Policy): Rebuilder | undefined {
  if (rebuilders === 'none') return undefined;
  if (signer.kind === 'key') {
    const publicKey = base64Encode(signer.publicKey);
    return rebuilders.listed.find((listed) => 'publicKey' in listed && listed.publicKey === publicKey);
  }
  const isSigner = (one: { readonly identity: string; readonly issuer: string }) =>
    one.identity === signer.identity && one.issuer === signer.issuer;
  if (builders.some(isSigner)) return undefined;
  return rebuilders.listed.find((listed) => 'identity' in listed && isSigner(listed));
}

function isBuiltFrom(step: StepEvidence, report: RebuildReport): boolean {
  const named = (name: string) =>
    step.resolvedDependencies.filter((input) => input.annotations?.role === 'config' && input.name === name);
  const is = (name: string, sha256: string) => {
    const found = named(name);
    return found.length === 1 && found[0]?.sha256 === sha256;
  };
  return is('waybill.yaml', report.definitionSha256) && is('waybill.lock', report.lockSha256);
}
