// SPDX-License-Identifier: Apache-2.0
// The rules of a gate [docs/spec/policy.md §Rules]. Each returns what it found, in one sentence, or throws the Rejection
// that evaluation turns into a failed verdict. Checks that devices run too live in core and are called from here.

import { CORE, quote } from '../core/faults.ts';
import { PROVENANCE_TYPE } from '../core/intoto/provenance.ts';
import { REFERENCE_TYPE } from '../core/intoto/reference.ts';
import { LIMITS } from '../core/limits.ts';
import { compareVersions } from '../core/release/version.ts';
import {
  checkBuilders,
  checkChain,
  checkHermetic,
  checkSbomBinding,
  checkSbomReference,
  claim,
  describeSigner,
  provenanceOf,
  type SbomEvidence,
  type StepEvidence,
  sbomReferencesOf,
} from '../core/verify/release-checks.ts';
import type { VerifiedBundle } from '../core/verify/verified.ts';
import type { Case } from './case.ts';
import { POLICY } from './faults.ts';
import type { RuleId } from './policy.ts';
import { checkRebuilds, type RebuildEvidence, selectRebuilds } from './rebuilds.ts';
import { type Selection, selectReferences, selectSteps, withoutNoise } from './select.ts';

const DAY_MS = 86_400_000;

/** The case with its evidence sorted by kind. Reading throws if a statement of a judged kind cannot be read. */
export interface Weighed extends Case {
  readonly steps: () => Selection<StepEvidence>;
  readonly references: () => Selection<SbomEvidence>;
  readonly rebuilds: () => readonly RebuildEvidence[];
}

/** Sorts the evidence of a case, lazily: a statement that cannot be read fails the rules that need its kind. */
export function weigh(given: Case): Weighed {
  const evidence = withoutNoise(given.evidence, given.policy);
  const steps = () => selectSteps(provenanceOf(evidence), given.policy, given.version);
  return {
    ...given,
    evidence,
    steps,
    rebuilds: () => selectRebuilds(given.evidence, steps().used, given),
    references: () => {
      const about = sbomReferencesOf(evidence).filter(({ subjects }) =>
        subjects.some(({ sha256 }) => sha256 === given.imageSha256),
      );
      return selectReferences(about, given.policy);
    },
  };
}

type Rule = (given: Weighed) => string;

function evidencePresent(given: Weighed): string {
  const about = given.evidence.filter(({ statement }) =>
    statement.subjects.some(({ sha256 }) => sha256 === given.imageSha256),
  );
  if (about.length === 0) {
    throw POLICY.reject(
      'POLICY_EVIDENCE_EMPTY',
      `expected verified statements about sha256:${given.imageSha256}, found none`,
    );
  }
  return `${about.length} verified ${about.length === 1 ? 'statement' : 'statements'} about this image`;
}

/** Families of predicates that this gate judges: another version of one may say what this one does not. */
const JUDGED = [PROVENANCE_TYPE, REFERENCE_TYPE].map((type) => ({
  type,
  family: type.slice(0, type.lastIndexOf('/') + 1),
}));

function evidenceConsistent(given: Weighed): string {
  for (const { statement } of given.evidence) {
    const judged = JUDGED.find(({ family }) => statement.predicateType.startsWith(family));
    if (judged !== undefined && statement.predicateType !== judged.type) {
      throw POLICY.reject(
        'POLICY_PREDICATE_UNKNOWN',
        `expected predicate type ${judged.type}, got ${quote(statement.predicateType)}`,
      );
    }
  }
  const claims = new Map<string, string>();
  const steps = given.steps().used;
  for (const step of steps) {
    const known = claims.get(step.step);
    if (known !== undefined && known !== claim(step)) {
      throw CORE.reject(
        'CHAIN_STEP_CONTRADICTED',
        `step ${quote(step.step)}: two statements disagree about inputs or outputs`,
      );
    }
    claims.set(step.step, claim(step));
  }
  const references = given.references().used;
  if (new Set(references.map(({ sbomSha256 }) => sbomSha256)).size > 1) {
    throw CORE.reject(
      'SBOM_REFERENCE_CONTRADICTED',
      'two signed references name different SBOMs for this image',
    );
  }
  if (steps.length + references.length === 0) {
    throw POLICY.reject('POLICY_EVIDENCE_EMPTY', 'expected provenance and SBOM references, found neither');
  }
  return `${steps.length} provenance and ${references.length} SBOM statements agree with each other`;
}

function evidenceFresh(given: Weighed): string {
  const { evidenceMaxAgeDays } = given.policy;
  const bundles = countedBundles(given);
  const times = bundles.map(({ signedAtMs }) => signedAtMs);
  if (times.length === 0)
    throw POLICY.reject('POLICY_EVIDENCE_EMPTY', 'expected signed evidence, found none');
  // Not a number compares false with everything: asked this way round, it fails.
  if (!times.every((signedAtMs) => signedAtMs <= given.nowMs + LIMITS.clockSkewMs)) {
    throw POLICY.reject(
      'POLICY_EVIDENCE_FROM_FUTURE',
      `expected signatures of now or before, got one ${seconds(Math.max(...times) - given.nowMs)} s ahead`,
    );
  }
  if (evidenceMaxAgeDays === 'none')
    return 'nothing is signed later than now; the policy asks no maximum age';
  const oldest = given.nowMs - Math.min(...times);
  if (!(oldest <= evidenceMaxAgeDays * DAY_MS)) {
    throw POLICY.reject(
      'POLICY_EVIDENCE_STALE',
      `expected evidence of at most ${evidenceMaxAgeDays} days, got one of ${Math.floor(oldest / DAY_MS)} days`,
    );
  }
  return `the oldest signature is ${Math.max(0, Math.floor(oldest / DAY_MS))} days old, ${evidenceMaxAgeDays} are allowed`;
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}

function builderTrusted(given: Weighed): string {
  const steps = given.steps().used;
  checkBuilders(steps, given.policy);
  const signers = [...new Set(steps.map(({ bundle }) => describeSigner(bundle.signer)))].sort();
  return `every step signed by ${signers.join(' or ')} as a builder that the policy trusts`;
}

function buildHermetic(given: Weighed): string {
  const steps = given.steps().used;
  checkHermetic(steps);
  const mechanisms = [...new Set(steps.map(({ sandbox }) => quote(sandbox.mechanism)))].sort();
  return `every step ran without network, host files and inherited environment (${mechanisms.join(', ')})`;
}

function chainComplete(given: Weighed): string {
  checkChain(given.steps().used, given.policy, given);
  return `${given.policy.source} → ${given.policy.steps.join(' → ')} → sha256:${given.imageSha256}`;
}

function sbomBound(given: Weighed): string {
  const sbomSha256 = checkSbomReference(given.references().used, given.policy, given.imageSha256);
  if (given.sbom === undefined) {
    throw POLICY.reject('POLICY_SBOM_WITHHELD', `expected the SBOM sha256:${sbomSha256}, nobody gave it`);
  }
  const components = checkSbomBinding(given.sbom, { sbomSha256, imageSha256: given.imageSha256 });
  return `SBOM sha256:${sbomSha256} describes this image: ${components} components`;
}

function rebuildAgreed(given: Weighed): string {
  return checkRebuilds(given.rebuilds(), given.policy);
}

function versionHigher(given: Weighed): string {
  if (given.lastVersion === undefined) {
    // Also refuses what is no version.
    compareVersions(given.version, '0');
    return `${given.version} is the first release`;
  }
  if (compareVersions(given.version, given.lastVersion) <= 0) {
    throw POLICY.reject(
      'POLICY_VERSION_NOT_HIGHER',
      `expected a version higher than ${given.lastVersion}, got ${given.version}`,
    );
  }
  return `${given.version} is higher than ${given.lastVersion}`;
}

export const RULES: Readonly<Record<RuleId, Rule>> = {
  'evidence-present': evidencePresent,
  'evidence-consistent': evidenceConsistent,
  'evidence-fresh': evidenceFresh,
  'builder-trusted': builderTrusted,
  'build-hermetic': buildHermetic,
  'chain-complete': chainComplete,
  'sbom-bound': sbomBound,
  'rebuild-agreed': rebuildAgreed,
  'version-higher': versionHigher,
};

/**
 * Every bundle that counts: provenance and SBOM references, selected. Throws if one cannot be read. Rebuilds are the gate's alone:
 * what counts here goes to devices, which judge no rebuilds and may not know the rebuilders' keys.
 */
export function countedBundles(given: Weighed): readonly VerifiedBundle[] {
  return [...given.steps().used, ...given.references().used].map(({ bundle }) => bundle);
}

/** The bundles that a rule looks at. Throws if one cannot be read. */
export function bundlesOf(id: RuleId, given: Weighed): readonly VerifiedBundle[] {
  switch (id) {
    case 'evidence-present':
      return given.evidence.filter(({ statement }) =>
        statement.subjects.some(({ sha256 }) => sha256 === given.imageSha256),
      );
    case 'evidence-consistent':
    case 'evidence-fresh':
      return countedBundles(given);
    case 'builder-trusted':
    case 'build-hermetic':
    case 'chain-complete':
      return given.steps().used.map(({ bundle }) => bundle);
    case 'sbom-bound':
      return given.references().used.map(({ bundle }) => bundle);
    case 'rebuild-agreed':
      return given.rebuilds().map(({ bundle }) => bundle);
    case 'version-higher':
      return [];
  }
}
