// SPDX-License-Identifier: Apache-2.0
// The gate's word for a release [SLSA-v1.2 §VSA]: among what the registry keeps about the image, the newest summary that
// devices will accept under the product's device policy.

import { quote, Rejection, several } from '../core/faults.ts';
import { parseStatement } from '../core/intoto/statement.ts';
import { parseVerificationSummary, type VerificationSummary, VSA_TYPE } from '../core/intoto/vsa.ts';
import type { TrustedGate } from '../core/release/device-policy.ts';
import { releaseUri } from '../core/release/version.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { describeSigner } from '../core/verify/release-checks.ts';
import type { BundleVerifier, VerifiedBundle } from '../core/verify/verified.ts';
import { RELEASE } from './faults.ts';
import type { FetchedBundle } from './registry.ts';

/** What a summary must say. */
export interface SummaryWanted {
  readonly gate: TrustedGate;
  readonly product: string;
  readonly version: string;
  readonly imageSha256: string;
}

export interface FoundSummary {
  readonly bundle: VerifiedBundle;
  readonly bytes: Uint8Array;
  readonly summary: VerificationSummary;
}

/**
 * The newest acceptable summary. Summaries that do not serve are passed over: anyone may have run a gate; if none serves, the
 * reason of each stands in the message.
 * @throws RELEASE_SUMMARY_MISSING
 */
export function chooseSummary(
  fetched: readonly FetchedBundle[],
  verifier: BundleVerifier,
  wanted: SummaryWanted,
): FoundSummary {
  const reasons: string[] = [];
  const found: FoundSummary[] = [];
  for (const { bytes, sha256 } of fetched) {
    try {
      if (parseStatement(parseBundle(bytes).payload).predicateType !== VSA_TYPE) continue;
      const bundle = verifier.verify(bytes);
      const summary = parseVerificationSummary(bundle.statement);
      const reason = objection(bundle, summary, wanted);
      if (reason === undefined) found.push({ bundle, bytes, summary });
      else reasons.push(`sha256:${sha256}: ${reason}`);
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
      reasons.push(`sha256:${sha256}: ${failure.code}`);
    }
  }
  found.sort((a, b) => b.summary.timeVerifiedMs - a.summary.timeVerifiedMs || order(a, b));
  const [newest] = found;
  if (newest !== undefined) return newest;
  const seen = reasons.length === 0 ? 'found no summary' : `found ${several(reasons)}`;
  throw RELEASE.reject(
    'RELEASE_SUMMARY_MISSING',
    `expected a summary PASSED of ${quote(wanted.gate.verifierId)} for ${releaseUri(wanted.product, wanted.version)}, ` +
      `image sha256:${wanted.imageSha256}; ${seen}`,
  );
}

function order(a: FoundSummary, b: FoundSummary): number {
  return a.bundle.sha256 < b.bundle.sha256 ? -1 : 1;
}

/** Why devices would not accept this summary; undefined if they would. */
function objection(
  { signer }: VerifiedBundle,
  summary: VerificationSummary,
  { gate, product, version, imageSha256 }: SummaryWanted,
): string | undefined {
  if (signer.kind !== 'key') return `signed by ${describeSigner(signer)}, not by the gate's key`;
  if (!sameBytes(signer.publicKey, gate.publicKey)) return 'signed by a key that is not the gate';
  if (summary.verifierId !== gate.verifierId) return 'another verifier id';
  if (summary.subjects.length !== 1 || summary.subjects[0]?.sha256 !== imageSha256) return 'another image';
  if (summary.resourceUri !== releaseUri(product, version)) return 'another product or version';
  const { policyUri, policySha256 } = summary;
  if (!gate.policies.some(({ uri, sha256 }) => uri === policyUri && sha256 === policySha256)) {
    return `policy sha256:${policySha256}, which the device policy does not name`;
  }
  return summary.result === 'PASSED' ? undefined : `result ${summary.result}`;
}
