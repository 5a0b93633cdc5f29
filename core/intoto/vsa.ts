// SPDX-License-Identifier: Apache-2.0
// SLSA Verification Summary Attestation v1 [SLSA-v1.2 §VSA]: the signed form of a gate's decision.
// Stricter than [SLSA-v1.2 §VSA]: policy digest, input attestations and the time are required.

import { CORE } from '../faults.ts';
import type { Statement, Subject, UnsignedStatement } from './statement.ts';

export const VSA_TYPE = 'https://slsa.dev/verification_summary/v1';

export interface VerificationSummary {
  readonly subjects: readonly Subject[];
  readonly verifierId: string;
  /** Milliseconds since 1970. */
  readonly timeVerifiedMs: number;
  /** `releaseUri` of core/release/version.ts. */
  readonly resourceUri: string;
  readonly policyUri: string;
  readonly policySha256: string;
  /** SHA-256 of each bundle that the gate used, all of them. */
  readonly inputAttestations: readonly string[];
  readonly result: 'PASSED' | 'FAILED';
  readonly verifiedLevels: readonly string[];
}

/** Reads a statement as a VSA. @throws SLSA_VSA_MALFORMED, INTOTO_STATEMENT_MALFORMED */
export function parseVerificationSummary(statement: Statement): VerificationSummary {
  if (statement.predicateType !== VSA_TYPE) {
    throw CORE.reject('SLSA_VSA_MALFORMED', `expected predicate type ${VSA_TYPE}, got another`);
  }
  const predicate = statement.predicate;
  const policy = predicate.field('policy');
  return {
    subjects: statement.subjects,
    verifierId: predicate.field('verifier').field('id').string(),
    timeVerifiedMs: predicate.field('timeVerified').instantMs(),
    resourceUri: predicate.field('resourceUri').string(),
    policyUri: policy.field('uri').string(),
    policySha256: policy.field('digest').field('sha256').sha256(),
    inputAttestations: predicate
      .field('inputAttestations')
      .someElements()
      .map((input) => input.field('digest').field('sha256').sha256()),
    result: predicate.field('verificationResult').word('PASSED', 'FAILED'),
    verifiedLevels: predicate
      .field('verifiedLevels')
      .elements()
      .map((level) => level.string()),
  };
}

/** Builds the unsigned VSA; `timeVerified` is the RFC 3339 form of `timeVerifiedMs`, given by the caller who has a clock. */
export function buildVerificationSummary(
  summary: VerificationSummary,
  timeVerified: string,
): UnsignedStatement {
  return {
    subjects: summary.subjects,
    predicateType: VSA_TYPE,
    predicate: {
      verifier: { id: summary.verifierId },
      timeVerified,
      resourceUri: summary.resourceUri,
      policy: { uri: summary.policyUri, digest: { sha256: summary.policySha256 } },
      inputAttestations: summary.inputAttestations.map((sha256) => ({ digest: { sha256 } })),
      verificationResult: summary.result,
      verifiedLevels: summary.verifiedLevels,
      slsaVersion: '1.2',
    },
  };
}
