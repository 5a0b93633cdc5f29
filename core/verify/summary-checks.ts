// SPDX-License-Identifier: Apache-2.0
// The gate's decision as a device believes it [SLSA-v1.2 §VSA] [docs/spec/evidence-pack.md §Verifying].

import { base64Encode } from '../encoding/base64.ts';
import { quote, several } from '../faults.ts';
import { parseVerificationSummary, type VerificationSummary, VSA_TYPE } from '../intoto/vsa.ts';
import type { TrustedGate } from '../release/device-policy.ts';
import { releaseUri } from '../release/version.ts';
import { sameBytes } from '../tlog/merkle.ts';
import { PACK } from './faults.ts';
import { describeSigner } from './release-checks.ts';
import type { VerifiedBundle } from './verified.ts';

/** What the summary must be about. */
export interface SummaryExpectations {
  readonly gate: TrustedGate;
  readonly product: string;
  readonly version: string;
  readonly imageSha256: string;
}

/**
 * The one summary of a release, with everything that a device asks of it.
 * @throws SLSA_VSA_MALFORMED, PACK_SUMMARY_MISSING, PACK_SUMMARY_AMBIGUOUS, PACK_SUMMARY_KEY,
 * PACK_SUMMARY_VERIFIER, PACK_SUMMARY_SUBJECT, PACK_SUMMARY_FAILED, PACK_SUMMARY_POLICY,
 * PACK_SUMMARY_RESOURCE, PACK_SUMMARY_INPUTS
 */
export function checkSummary(
  bundles: readonly VerifiedBundle[],
  expected: SummaryExpectations,
): { readonly summary: VerificationSummary; readonly bundle: VerifiedBundle } {
  const bundle = onlySummary(bundles);
  checkKey(bundle, expected.gate);
  const summary = parseVerificationSummary(bundle.statement);
  checkVerifier(summary, expected.gate);
  checkSubject(summary, expected.imageSha256);
  checkResult(summary);
  checkPolicy(summary, expected.gate);
  checkResource(summary, expected);
  checkInputs(
    summary,
    bundles.filter((other) => other !== bundle),
  );
  return { summary, bundle };
}

function onlySummary(bundles: readonly VerifiedBundle[]): VerifiedBundle {
  const [first, ...more] = bundles.filter(({ statement }) => statement.predicateType === VSA_TYPE);
  if (first === undefined) {
    throw PACK.reject(
      'PACK_SUMMARY_MISSING',
      `expected a statement of type ${VSA_TYPE} in the pack, found none`,
    );
  }
  if (more.length > 0) {
    throw PACK.reject(
      'PACK_SUMMARY_AMBIGUOUS',
      `expected exactly one summary in the pack, got ${more.length + 1}`,
    );
  }
  return first;
}

function checkKey({ signer }: VerifiedBundle, gate: TrustedGate): void {
  if (signer.kind !== 'key') {
    throw PACK.reject(
      'PACK_SUMMARY_KEY',
      `expected the gate's key, got a certificate of ${describeSigner(signer)}: no authority may mint a gate`,
    );
  }
  if (!sameBytes(signer.publicKey, gate.publicKey)) {
    throw PACK.reject(
      'PACK_SUMMARY_KEY',
      `expected the gate's key ${base64Encode(gate.publicKey)}, got ${base64Encode(signer.publicKey)}`,
    );
  }
}

function checkVerifier(summary: VerificationSummary, gate: TrustedGate): void {
  if (summary.verifierId !== gate.verifierId) {
    throw PACK.reject(
      'PACK_SUMMARY_VERIFIER',
      `expected verifier ${quote(gate.verifierId)}, got ${quote(summary.verifierId)}`,
    );
  }
}

function checkSubject(summary: VerificationSummary, imageSha256: string): void {
  const digests = summary.subjects.map(({ sha256 }) => sha256);
  if (digests.length !== 1 || digests[0] !== imageSha256) {
    throw PACK.reject(
      'PACK_SUMMARY_SUBJECT',
      `expected the one subject sha256:${imageSha256}, got ${several(digests.map((digest) => `sha256:${digest}`))}`,
    );
  }
}

function checkResult(summary: VerificationSummary): void {
  if (summary.result !== 'PASSED') {
    throw PACK.reject('PACK_SUMMARY_FAILED', `expected the result PASSED, got ${summary.result}`);
  }
}

function checkPolicy(summary: VerificationSummary, gate: TrustedGate): void {
  const { policyUri: uri, policySha256: sha256 } = summary;
  if (!gate.policies.some((policy) => policy.uri === uri && policy.sha256 === sha256)) {
    const allowed = gate.policies
      .map((policy) => `${quote(policy.uri)} sha256:${policy.sha256}`)
      .join(' or ');
    throw PACK.reject(
      'PACK_SUMMARY_POLICY',
      `expected policy ${allowed}, got ${quote(uri)} sha256:${sha256}`,
    );
  }
}

function checkResource(summary: VerificationSummary, { product, version }: SummaryExpectations): void {
  const uri = releaseUri(product, version);
  if (summary.resourceUri !== uri) {
    throw PACK.reject(
      'PACK_SUMMARY_RESOURCE',
      `expected a summary of ${uri}, got one of ${quote(summary.resourceUri)}`,
    );
  }
}

function checkInputs(summary: VerificationSummary, others: readonly VerifiedBundle[]): void {
  const used = new Set(summary.inputAttestations);
  const packed = new Set(others.map(({ sha256 }) => sha256));
  const withheld = [...used].find((sha256) => !packed.has(sha256));
  if (withheld !== undefined) {
    throw PACK.reject(
      'PACK_SUMMARY_INPUTS',
      `the gate used bundle sha256:${withheld}, the pack does not hold it`,
    );
  }
  const unseen = [...packed].find((sha256) => !used.has(sha256));
  if (unseen !== undefined) {
    throw PACK.reject(
      'PACK_SUMMARY_INPUTS',
      `the pack holds bundle sha256:${unseen}, which the gate did not use`,
    );
  }
}
