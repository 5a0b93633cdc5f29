// SPDX-License-Identifier: Apache-2.0
// Steps of verification [docs/spec/verification.md §Release checks] that gate and device run alike, on evidence whose
// signatures were verified before. Each throws a Rejection with its own code, or returns what it learned.

import { parseBom } from '../cyclonedx/bom.ts';
import { canonicalJsonBytes } from '../encoding/canonical-json.ts';
import { hexEncode } from '../encoding/hex.ts';
import { CORE, quote, several } from '../faults.ts';
import { PROVENANCE_TYPE, parseStepProvenance, type StepProvenance } from '../intoto/provenance.ts';
import { parseSbomReference, REFERENCE_TYPE, type SbomReference } from '../intoto/reference.ts';
import { formatResourceDescriptor, type ResourceDescriptor } from '../intoto/statement.ts';
import type { Expectations } from '../release/expectations.ts';
import type { VerifiedBundle, VerifiedSigner } from './verified.ts';

/** A step's provenance and the bundle that says it. */
export interface StepEvidence extends StepProvenance {
  readonly bundle: VerifiedBundle;
}

/** A reference to the SBOM and the bundle that says it. */
export interface SbomEvidence extends SbomReference {
  readonly bundle: VerifiedBundle;
}

/** The provenance among verified bundles. @throws SLSA_PROVENANCE_MALFORMED */
export function provenanceOf(bundles: readonly VerifiedBundle[]): StepEvidence[] {
  return bundles
    .filter((bundle) => bundle.statement.predicateType === PROVENANCE_TYPE)
    .map((bundle) => ({ ...parseStepProvenance(bundle.statement), bundle }));
}

/** The SBOM references among verified bundles. @throws INTOTO_REFERENCE_MALFORMED */
export function sbomReferencesOf(bundles: readonly VerifiedBundle[]): SbomEvidence[] {
  return bundles
    .filter((bundle) => bundle.statement.predicateType === REFERENCE_TYPE)
    .map((bundle) => ({ ...parseSbomReference(bundle.statement), bundle }));
}

/** Every bundle is of a kind, in a version, that is judged here: nothing unjudged travels with a release. @throws INTOTO_PREDICATE_UNKNOWN */
export function checkKinds(bundles: readonly VerifiedBundle[]): void {
  for (const { statement } of bundles) {
    if (statement.predicateType !== PROVENANCE_TYPE && statement.predicateType !== REFERENCE_TYPE) {
      throw CORE.reject(
        'INTOTO_PREDICATE_UNKNOWN',
        `expected ${PROVENANCE_TYPE} or ${REFERENCE_TYPE}, got ${quote(statement.predicateType)}`,
      );
    }
  }
}

/** The signer in words, quoted, for messages. */
export function describeSigner(signer: VerifiedSigner): string {
  return signer.kind === 'certificate'
    ? `${quote(signer.identity)} (issuer ${quote(signer.issuer)})`
    : 'a key without certificate';
}

/** True if the expectations name this pair of builder id and certificate identity. */
export function isTrustedBuilder(
  builderId: string,
  signer: VerifiedSigner,
  expectations: Expectations,
): boolean {
  return (
    signer.kind === 'certificate' &&
    expectations.builders.some(
      (builder) =>
        builder.builderId === builderId &&
        builder.identity === signer.identity &&
        builder.issuer === signer.issuer,
    )
  );
}

/** Every provenance comes from a trusted pair of builder id and identity. @throws CHAIN_BUILDER_NOT_TRUSTED, CHAIN_STEP_MISSING */
export function checkBuilders(steps: readonly StepEvidence[], expectations: Expectations): void {
  if (steps.length === 0) throw CORE.reject('CHAIN_STEP_MISSING', 'expected provenance, found none');
  for (const step of steps) {
    if (!isTrustedBuilder(step.builderId, step.bundle.signer, expectations)) {
      throw CORE.reject(
        'CHAIN_BUILDER_NOT_TRUSTED',
        `step ${quote(step.step)}: builder ${quote(step.builderId)} signed by ${describeSigner(step.bundle.signer)} ` +
          'is not a pair that the policy trusts',
      );
    }
  }
}

/** Every step ran hermetically. @throws CHAIN_STEP_NOT_HERMETIC, CHAIN_STEP_MISSING */
export function checkHermetic(steps: readonly StepEvidence[]): void {
  if (steps.length === 0) throw CORE.reject('CHAIN_STEP_MISSING', 'expected provenance, found none');
  for (const step of steps) {
    if (!step.sandbox.hermetic) {
      throw CORE.reject('CHAIN_STEP_NOT_HERMETIC', `step ${quote(step.step)} was not run hermetically`);
    }
  }
}

/**
 * The artifact chain from source to image: one provenance a step (or several that agree), each step's materials are
 * products of an earlier step, the first step has the source, the last makes the image, one lock for all.
 * @throws CHAIN_PRODUCT_MISMATCH, CHAIN_STEP_UNEXPECTED, CHAIN_STEP_MISSING, CHAIN_STEP_CONTRADICTED,
 * CHAIN_SOURCE_MISSING, CHAIN_MATERIAL_MISMATCH, CHAIN_LOCK_DIFFERS, CHAIN_IMAGE_NOT_PRODUCED
 */
export function checkChain(
  evidence: readonly StepEvidence[],
  expectations: Expectations,
  release: { readonly version: string; readonly imageSha256: string },
): readonly StepEvidence[] {
  const steps = expectations.steps.map((name) => onlyStep(name, evidence, expectations, release.version));
  const unexpected = evidence.find((step) => !expectations.steps.includes(step.step));
  if (unexpected !== undefined) {
    throw CORE.reject(
      'CHAIN_STEP_UNEXPECTED',
      `expected steps ${expectations.steps.map(quote).join(', ')}, got also ${quote(unexpected.step)}`,
    );
  }
  const lock = lockOf(steps[0] as StepEvidence);
  steps.forEach((step, i) => {
    if (i === 0) checkSource(step, expectations);
    checkMaterials(step, steps.slice(0, i));
    if (lockOf(step) !== lock) {
      throw CORE.reject(
        'CHAIN_LOCK_DIFFERS',
        `step ${quote(step.step)} was built from another waybill.lock than the first step`,
      );
    }
  });
  const last = steps[steps.length - 1] as StepEvidence;
  if (!last.products.some((product) => product.sha256 === release.imageSha256)) {
    throw CORE.reject(
      'CHAIN_IMAGE_NOT_PRODUCED',
      `expected step ${quote(last.step)} to have made sha256:${release.imageSha256}, it made ` +
        several(last.products.map((product) => `${quote(product.name)} sha256:${product.sha256}`)),
    );
  }
  return steps;
}

function onlyStep(
  name: string,
  evidence: readonly StepEvidence[],
  expectations: Expectations,
  version: string,
): StepEvidence {
  const [first, ...others] = evidence.filter((step) => step.step === name);
  if (first === undefined)
    throw CORE.reject('CHAIN_STEP_MISSING', `expected provenance of step ${quote(name)}, found none`);
  for (const step of [first, ...others]) {
    if (step.product !== expectations.product || step.version !== version) {
      throw CORE.reject(
        'CHAIN_PRODUCT_MISMATCH',
        `step ${quote(name)}: expected ${expectations.product} ${version}, got ${quote(step.product)} ${quote(step.version)}`,
      );
    }
  }
  if (others.some((other) => claim(other) !== claim(first))) {
    throw CORE.reject(
      'CHAIN_STEP_CONTRADICTED',
      `step ${quote(name)}: two statements disagree about inputs or outputs`,
    );
  }
  return first;
}

/** What a provenance says about artifacts, in one comparable form; who and when are left out. */
export function claim(step: StepProvenance): string {
  const products = step.products.map(({ name, sha256 }) => ({ name, sha256 }));
  const inputs = step.resolvedDependencies.map(formatResourceDescriptor);
  return hexEncode(canonicalJsonBytes([products, inputs]));
}

function withRole(step: StepProvenance, role: string): readonly ResourceDescriptor[] {
  return step.resolvedDependencies.filter((input) => input.annotations?.role === role);
}

function lockOf(step: StepProvenance): string {
  const [lock, ...more] = withRole(step, 'config').filter((input) => input.name === 'waybill.lock');
  if (lock === undefined || more.length > 0) {
    throw CORE.reject(
      'CHAIN_LOCK_DIFFERS',
      `step ${quote(step.step)}: expected exactly one waybill.lock among its inputs`,
    );
  }
  return lock.sha256;
}

function checkSource(step: StepProvenance, expectations: Expectations): void {
  if (!withRole(step, 'source').some((input) => input.uri?.startsWith(`${expectations.source}@`))) {
    throw CORE.reject(
      'CHAIN_SOURCE_MISSING',
      `step ${quote(step.step)}: expected source ${quote(expectations.source)}, found none`,
    );
  }
}

function checkMaterials(step: StepProvenance, earlier: readonly StepProvenance[]): void {
  const materials = withRole(step, 'material');
  // The first step has the source instead.
  if (materials.length === 0 && earlier.length > 0) {
    throw CORE.reject(
      'CHAIN_MATERIAL_MISMATCH',
      `step ${quote(step.step)}: expected a product of an earlier step among its inputs`,
    );
  }
  for (const material of materials) {
    const maker = earlier.find((other) => other.step === material.annotations?.step);
    const product = maker?.products.find(({ name }) => name === material.name);
    if (product?.sha256 !== material.sha256) {
      throw CORE.reject(
        'CHAIN_MATERIAL_MISMATCH',
        `step ${quote(step.step)} used ${quote(material.name ?? '')} sha256:${material.sha256}, but step ` +
          `${quote(material.annotations?.step ?? '')} ${product === undefined ? 'made no such file' : `made sha256:${product.sha256}`}`,
      );
    }
  }
}

/**
 * The digest of the SBOM that trusted builders bind to the image; all references agree.
 * @throws SBOM_REFERENCE_MISSING, SBOM_REFERENCE_CONTRADICTED, CHAIN_BUILDER_NOT_TRUSTED
 */
export function checkSbomReference(
  references: readonly SbomEvidence[],
  expectations: Expectations,
  imageSha256: string,
): string {
  const bound = references.filter(({ subjects }) => subjects.some(({ sha256 }) => sha256 === imageSha256));
  const [first, ...others] = bound;
  if (first === undefined) {
    throw CORE.reject(
      'SBOM_REFERENCE_MISSING',
      `expected a signed reference to the SBOM of sha256:${imageSha256}, found none`,
    );
  }
  for (const reference of bound) {
    if (!isTrustedBuilder(reference.attesterId, reference.bundle.signer, expectations)) {
      throw CORE.reject(
        'CHAIN_BUILDER_NOT_TRUSTED',
        `SBOM reference of ${quote(reference.attesterId)} signed by ${describeSigner(reference.bundle.signer)} ` +
          'is not of a pair that the policy trusts',
      );
    }
  }
  if (others.some((other) => other.sbomSha256 !== first.sbomSha256)) {
    throw CORE.reject(
      'SBOM_REFERENCE_CONTRADICTED',
      'two signed references name different SBOMs for this image',
    );
  }
  return first.sbomSha256;
}

/** The SBOM's bytes are the referenced ones and describe this image. @throws SBOM_DIGEST_MISMATCH, SBOM_MALFORMED, SBOM_NOT_BOUND */
export function checkSbomBinding(
  sbom: { readonly bytes: Uint8Array; readonly sha256: string },
  referenced: { readonly sbomSha256: string; readonly imageSha256: string },
): number {
  if (sbom.sha256 !== referenced.sbomSha256) {
    throw CORE.reject(
      'SBOM_DIGEST_MISMATCH',
      `expected the SBOM sha256:${referenced.sbomSha256}, got sha256:${sbom.sha256}`,
    );
  }
  const bom = parseBom(sbom.bytes);
  if (!bom.subject.sha256.includes(referenced.imageSha256)) {
    throw CORE.reject(
      'SBOM_NOT_BOUND',
      `expected the SBOM to describe sha256:${referenced.imageSha256}, it describes ${quote(bom.subject.name)} ` +
        (several(bom.subject.sha256.map((digest) => `sha256:${digest}`)) || 'without a SHA-256 digest'),
    );
  }
  return bom.components.length;
}
