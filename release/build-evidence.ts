// SPDX-License-Identifier: Apache-2.0
// Which build an image came from, by the registry's evidence alone [docs/spec/rebuild.md §How a rebuild is made]: the provenance of its
// step, of the steps before, and the definition and lock that all of them name. No policy is asked: whoever rebuilds judges
// whether image and build belong together, not whether the builder may be trusted.

import { createHash } from 'node:crypto';
import { quote, Rejection } from '../core/faults.ts';
import type { Subject } from '../core/intoto/statement.ts';
import { describeSigner, provenanceOf, type StepEvidence } from '../core/verify/release-checks.ts';
import type { EvidenceSource } from './evidence.ts';
import { RELEASE } from './faults.ts';

export interface ClaimedBuild {
  readonly image: Subject;
  readonly product: string;
  readonly version: string;
  /** The steps that lead to the image, in no order. Signatures verified, claims not. */
  readonly steps: readonly StepEvidence[];
  readonly definitionSha256: string;
  readonly lockSha256: string;
}

/** Steps on the way to one image at most. */
const STEP_COUNT_MAX = 256;

/**
 * The one build that made an image. `identity` narrows it to builds that a certificate of that identity signed.
 * @throws RELEASE_REGISTRY_*, REBUILD_EVIDENCE_MISSING, REBUILD_EVIDENCE_AMBIGUOUS
 */
export async function findClaimedBuild(
  source: EvidenceSource,
  imageSha256: string,
  identity?: string,
): Promise<ClaimedBuild> {
  const known = new Map<string, Promise<readonly StepEvidence[]>>();
  const makersOf = (sha256: string) => {
    const found = known.get(sha256) ?? provenanceAbout(source, sha256);
    known.set(sha256, found);
    return found;
  };
  const builds: ClaimedBuild[] = [];
  for (const last of await makersOf(imageSha256)) {
    if (identity !== undefined && !isSignedBy(last, identity)) continue;
    const build = await claimOf(last, imageSha256, makersOf);
    if (build !== undefined) builds.push(build);
  }
  const [first] = builds;
  if (first === undefined) {
    throw RELEASE.reject(
      'REBUILD_EVIDENCE_MISSING',
      `expected the provenance of every step to sha256:${imageSha256}` +
        `${identity === undefined ? '' : ` signed by ${quote(identity)}`}, found no build with all of them`,
    );
  }
  const other = builds.find((build) => sourceOf(build) !== sourceOf(first));
  if (other !== undefined) {
    const signers = [first, other].map(({ steps: [step] }) =>
      step === undefined ? '' : describeSigner(step.bundle.signer),
    );
    throw RELEASE.reject(
      'REBUILD_EVIDENCE_AMBIGUOUS',
      `expected one build of sha256:${imageSha256}, got two from different definitions or locks, signed by ${signers.join(' and ')}`,
    );
  }
  return first;
}

/** A body that verified evidence names by digest. @throws RELEASE_REGISTRY_*, REBUILD_EVIDENCE_MISSING */
export async function fetchNamed(source: EvidenceSource, sha256: string, what: string): Promise<Uint8Array> {
  const bytes = await source.registry.blob(sha256);
  const got = bytes === undefined ? undefined : createHash('sha256').update(bytes).digest('hex');
  if (bytes !== undefined && got === sha256) return bytes;
  throw RELEASE.reject(
    'REBUILD_EVIDENCE_MISSING',
    `expected ${what} with sha256:${sha256} from the registry, got ${got === undefined ? 'none' : `sha256:${got}`}`,
  );
}

/** What verifies and is provenance; anything else that somebody attested about the artifact leads nowhere. */
async function provenanceAbout(source: EvidenceSource, sha256: string): Promise<readonly StepEvidence[]> {
  const found: StepEvidence[] = [];
  for (const { bytes } of await source.registry.bundlesAbout(sha256)) {
    try {
      found.push(...provenanceOf([source.verifier.verify(bytes)]));
    } catch (failure) {
      if (!(failure instanceof Rejection)) throw failure;
    }
  }
  return found.filter(({ products }) => products.some((product) => product.sha256 === sha256));
}

function isSignedBy({ bundle: { signer } }: StepEvidence, identity: string): boolean {
  return signer.kind === 'certificate' && signer.identity === identity;
}

const withRole = (step: StepEvidence, role: string) =>
  step.resolvedDependencies.filter((input) => input.annotations?.role === role);

/** One run of one builder under one identity. */
function runOf({ builderId, invocationId, product, version, bundle: { signer } }: StepEvidence): string {
  return JSON.stringify([builderId, invocationId, product, version, describeSigner(signer)]);
}

const sourceOf = ({ definitionSha256, lockSha256, product, version }: ClaimedBuild): string =>
  JSON.stringify([definitionSha256, lockSha256, product, version]);

/** The build that ends with this step; undefined if a step before it is missing or the steps name different files. */
async function claimOf(
  last: StepEvidence,
  imageSha256: string,
  makersOf: (sha256: string) => Promise<readonly StepEvidence[]>,
): Promise<ClaimedBuild | undefined> {
  const steps = new Map([[last.step, last]]);
  for (const step of steps.values()) {
    for (const material of withRole(step, 'material')) {
      const makers = await makersOf(material.sha256);
      const name = material.annotations?.step;
      const maker = makers.find((other) => other.step === name && runOf(other) === runOf(last));
      if (maker === undefined || steps.size > STEP_COUNT_MAX) return undefined;
      // Growing while it is walked: a map's values are visited in the order in which they came.
      if (!steps.has(maker.step)) steps.set(maker.step, maker);
    }
  }
  const config = (name: string) =>
    new Set(
      [...steps.values()]
        .flatMap((step) => withRole(step, 'config'))
        .flatMap((file) => (file.name === name ? [file.sha256] : [])),
    );
  const [definitionSha256, otherDefinition] = config('waybill.yaml');
  const [lockSha256, otherLock] = config('waybill.lock');
  const image = last.products.find(({ sha256 }) => sha256 === imageSha256);
  const isOne = otherDefinition === undefined && otherLock === undefined;
  if (definitionSha256 === undefined || lockSha256 === undefined || image === undefined || !isOne)
    return undefined;
  const { product, version } = last;
  return { image, product, version, steps: [...steps.values()], definitionSha256, lockSha256 };
}
