// SPDX-License-Identifier: Apache-2.0
// Collecting the evidence of an image from a registry [docs/spec/policy.md §Evidence]: from the image to the provenance of
// the step that made it, to its materials, to theirs. Each bundle is verified here; a lie of the registry has its own code.

import { Rejection, several } from '../core/faults.ts';
import { PROVENANCE_TYPE } from '../core/intoto/provenance.ts';
import { REBUILD_TYPE } from '../core/intoto/rebuild.ts';
import { REFERENCE_TYPE } from '../core/intoto/reference.ts';
import { parseStatement } from '../core/intoto/statement.ts';
import type { Expectations } from '../core/release/expectations.ts';
import { parseBundle } from '../core/sigstore/bundle.ts';
import { isTrustedBuilder, provenanceOf, sbomReferencesOf } from '../core/verify/release-checks.ts';
import type { BundleVerifier, VerifiedBundle } from '../core/verify/verified.ts';
import { RELEASE } from './faults.ts';
import type { FetchedBundle, Registry } from './registry.ts';

/** Artifacts between source and image that one release can lead through. */
const ARTIFACT_COUNT_MAX = 256;

/** Where evidence comes from and who verifies it. */
export interface EvidenceSource {
  readonly registry: Registry;
  readonly verifier: BundleVerifier;
}

/** Families of predicates that gates judge; statements of other kinds are no evidence and are left alone. */
const JUDGED = [PROVENANCE_TYPE, REFERENCE_TYPE].map((type) => type.slice(0, type.lastIndexOf('/') + 1));

/**
 * The verified bundles about an image and about what it was made from. Only the materials of builders that the expectations
 * name are followed, so that nobody else can lead the walk astray.
 * @throws RELEASE_REGISTRY_*, EVIDENCE_*, and what the verifier throws: a registry keeps nothing that does not verify
 */
export async function collectEvidence(
  source: EvidenceSource,
  imageSha256: string,
  expectations: Expectations,
): Promise<readonly VerifiedBundle[]> {
  const found = new Map<string, VerifiedBundle>();
  const asked = new Set<string>();
  const queue = [imageSha256];
  for (let artifact = queue.shift(); artifact !== undefined; artifact = queue.shift()) {
    if (asked.has(artifact)) continue;
    asked.add(artifact);
    if (asked.size > ARTIFACT_COUNT_MAX) {
      throw RELEASE.reject(
        'EVIDENCE_WALK_ENDLESS',
        `expected at most ${ARTIFACT_COUNT_MAX} artifacts on the way to sha256:${imageSha256}, found more`,
      );
    }
    for (const fetched of await source.registry.bundlesAbout(artifact)) {
      if (found.has(fetched.sha256)) continue;
      const predicateType = typeOf(fetched, artifact);
      if (predicateType === REBUILD_TYPE) {
        // Rebuilders sign with keys that this gate may not know; a statement of theirs that does not verify counts for nothing.
        for (const bundle of readable(() => [source.verifier.verify(fetched.bytes)]))
          found.set(fetched.sha256, bundle);
        continue;
      }
      if (!JUDGED.some((family) => predicateType.startsWith(family))) continue;
      const bundle = source.verifier.verify(fetched.bytes);
      found.set(fetched.sha256, bundle);
      queue.push(...materialsOf(bundle, expectations));
    }
  }
  return [...found.values()];
}

/** The predicate type of a bundle that is about the artifact. @throws EVIDENCE_SUBJECT_ABSENT, SIGSTORE_BUNDLE_MALFORMED, INTOTO_STATEMENT_MALFORMED */
function typeOf(fetched: FetchedBundle, artifact: string): string {
  const statement = parseStatement(parseBundle(fetched.bytes).payload);
  if (!statement.subjects.some(({ sha256 }) => sha256 === artifact)) {
    throw RELEASE.reject(
      'EVIDENCE_SUBJECT_ABSENT',
      `asked for bundles about sha256:${artifact}, got sha256:${fetched.sha256}, which is about ` +
        several(statement.subjects.map(({ sha256 }) => `sha256:${sha256}`)),
    );
  }
  return statement.predicateType;
}

function materialsOf(bundle: VerifiedBundle, expectations: Expectations): readonly string[] {
  const [step] = readable(() => provenanceOf([bundle]));
  if (step === undefined || !isTrustedBuilder(step.builderId, bundle.signer, expectations)) return [];
  return step.resolvedDependencies
    .filter((input) => input.annotations?.role === 'material')
    .map((input) => input.sha256);
}

/** What cannot be read leads nowhere; that it is there is for the rules to judge. */
function readable<T>(read: () => readonly T[]): readonly T[] {
  try {
    return read();
  } catch (failure) {
    if (failure instanceof Rejection) return [];
    throw failure;
  }
}

/** The digest of the SBOM that a trusted builder's reference names for the image; undefined if there is none. */
export function sbomDigestOf(
  bundles: readonly VerifiedBundle[],
  imageSha256: string,
  expectations: Expectations,
): string | undefined {
  return bundles
    .flatMap((bundle) => readable(() => sbomReferencesOf([bundle])))
    .find(
      ({ attesterId, bundle, subjects }) =>
        isTrustedBuilder(attesterId, bundle.signer, expectations) &&
        subjects.some(({ sha256 }) => sha256 === imageSha256),
    )?.sbomSha256;
}
