// SPDX-License-Identifier: Apache-2.0
// Steps of verification of an evidence pack [docs/spec/evidence-pack.md §Verifying]: each refuses, or says what it found.

import type { Crypto } from '../crypto.ts';
import { formatInstant } from '../encoding/document.ts';
import { quote } from '../faults.ts';
import { CYCLONEDX_MEDIA_TYPE } from '../intoto/reference.ts';
import type { VerificationSummary } from '../intoto/vsa.ts';
import { LIMITS } from '../limits.ts';
import { checkWitnesses, type DevicePolicy } from '../release/device-policy.ts';
import { type EvidencePack, type PackedBody, parsePack } from '../release/pack.ts';
import type { LogPolicy } from '../tlog/log-policy.ts';
import type { WitnessedCheckpoint } from '../tlog/proof.ts';
import { PACK } from './faults.ts';
import type { OpenedBundle } from './opened-bundle.ts';
import { checkPackProofs } from './pack-log.ts';
import * as release from './release-checks.ts';
import { checkSummary } from './summary-checks.ts';
import type { BundleVerifier, VerifiedBundle } from './verified.ts';

/** Whom to believe about packs of one product. */
export interface PackTrust {
  readonly policy: DevicePolicy;
  readonly logPolicy: LogPolicy;
  /** For certificates of the trusted root, and for the gate's key. */
  readonly verifier: BundleVerifier;
}

/** The release that a pack must be about. */
export interface ReleaseFacts {
  readonly version: string;
  readonly imageSha256: string;
  readonly imageSizeBytes: number;
}

/** What a pack is verified against. */
export interface PackQuestion {
  readonly trust: PackTrust;
  /** The release that was asked for; undefined if any release of the policy's product will do. */
  readonly release?: ReleaseFacts | undefined;
  /** Milliseconds since 1970: nothing may be signed later. */
  readonly nowMs: number;
}

/** What a step found: the value for the steps after it, and what to tell people, a line each. */
export interface Finding<T> {
  readonly value: T;
  readonly lines: readonly string[];
}

/** A value with what was found out about it. */
export function found<T>(value: T, ...lines: readonly string[]): Finding<T> {
  return { value, lines };
}

/** The pack is about a release of the policy's product, and about the one that was asked for. @throws PACK_MALFORMED, PACK_RELEASE_MISMATCH */
export function readPack(bytes: Uint8Array, { trust, release: asked }: PackQuestion): Finding<EvidencePack> {
  const pack = parsePack(bytes);
  const expected: readonly (readonly [string, string | undefined, string])[] = [
    ['product', trust.policy.product, pack.product],
    ['version', asked?.version, pack.version],
    ['image digest', asked?.imageSha256, pack.imageSha256],
    [
      'image size',
      asked === undefined ? undefined : String(asked.imageSizeBytes),
      String(pack.imageSizeBytes),
    ],
  ];
  for (const [what, wanted, got] of expected) {
    if (wanted === undefined || wanted === got) continue;
    throw PACK.reject(
      'PACK_RELEASE_MISMATCH',
      `${what}: expected ${quote(wanted)}, the pack says ${quote(got)}`,
    );
  }
  const { product, version, imageSha256, bundles } = pack;
  return found(pack, `${product} ${version}, image sha256:${imageSha256}, ${bundles.length} bundles`);
}

/** Bundles whose entries are in the log, and the checkpoint that says so. */
export interface ProvenBundles {
  readonly bundles: readonly OpenedBundle[];
  readonly checkpoint: WitnessedCheckpoint;
}

/** The log holds every bundle's entry, as the witnesses asked for have seen. @throws what `checkPackProofs` and `checkWitnesses` throw */
export function proveEntries(
  pack: EvidencePack,
  { trust, nowMs }: PackQuestion,
  crypto: Crypto,
): Finding<ProvenBundles> {
  const { logPolicy, policy } = trust;
  const { bundles, lines, checkpoint } = checkPackProofs(pack, logPolicy, policy.gate.publicKey, crypto);
  checkWitnesses(policy, logPolicy, checkpoint.witnesses, nowMs);
  return found({ bundles, checkpoint }, ...lines);
}

/** Every bundle, against trusted root and gate key. @throws what the verifier throws, PACK_EVIDENCE_FROM_FUTURE */
export function verifyBundles(
  opened: readonly OpenedBundle[],
  { trust, nowMs }: PackQuestion,
): Finding<readonly VerifiedBundle[]> {
  const bundles = opened.map((bundle) => trust.verifier.verify(bundle));
  checkClock(bundles, nowMs);
  return found(bundles, ...bundles.map(describeBundle));
}

function describeBundle({ statement, signer, signedAtMs, leafIndex }: VerifiedBundle): string {
  // The check of the log lets one key alone sign without a certificate.
  const who = signer.kind === 'certificate' ? quote(signer.identity) : 'the gate key';
  return `${quote(statement.predicateType)} by ${who} at ${formatInstant(signedAtMs)}, log index ${leafIndex}`;
}

/**
 * Nothing is signed later than now. A clock that stands before a verified signature is wrong, and took expired metadata for good.
 * @throws PACK_EVIDENCE_FROM_FUTURE
 */
export function checkClock(
  bundles: readonly { readonly signedAtMs: number; readonly sha256: string }[],
  nowMs: number,
): void {
  // Not a number compares false with everything: asked this way round, it fails.
  const early = bundles.find(({ signedAtMs }) => !(signedAtMs <= nowMs + LIMITS.clockSkewMs));
  if (early === undefined) return;
  throw PACK.reject(
    'PACK_EVIDENCE_FROM_FUTURE',
    `expected signatures of ${formatInstant(nowMs)} or before, bundle sha256:${early.sha256} is of ` +
      formatInstant(early.signedAtMs),
  );
}

/** The gate's decision, and no evidence of a kind that nobody judges. @throws what `checkSummary` and `checkKinds` throw */
export function believeGate(
  pack: EvidencePack,
  bundles: readonly VerifiedBundle[],
  { policy }: PackTrust,
): Finding<VerificationSummary> {
  const { product, version, imageSha256 } = pack;
  const { summary, bundle } = checkSummary(bundles, { gate: policy.gate, product, version, imageSha256 });
  release.checkKinds(bundles.filter((other) => other !== bundle));
  return found(
    summary,
    `${summary.result} by ${quote(summary.verifierId)} at ${formatInstant(summary.timeVerifiedMs)}, policy ${quote(summary.policyUri)}, ` +
      `${summary.inputAttestations.length} inputs, all here`,
  );
}

/** Who ran each step, and how. @throws SLSA_PROVENANCE_MALFORMED, CHAIN_BUILDER_NOT_TRUSTED, CHAIN_STEP_MISSING, CHAIN_STEP_NOT_HERMETIC */
export function checkBuilders(
  bundles: readonly VerifiedBundle[],
  { policy }: PackTrust,
): Finding<readonly release.StepEvidence[]> {
  const evidence = release.provenanceOf(bundles);
  release.checkBuilders(evidence, policy);
  release.checkHermetic(evidence);
  return found(
    evidence,
    ...evidence.map(
      ({ step, builderId, sandbox }) =>
        `step ${quote(step)} by ${quote(builderId)}, hermetic (${quote(sandbox.mechanism)})`,
    ),
  );
}

/** From source to image. @throws CHAIN_… as `checkChain` of the release checks */
export function checkChain(
  pack: EvidencePack,
  evidence: readonly release.StepEvidence[],
  { policy }: PackTrust,
): Finding<readonly release.StepEvidence[]> {
  const chain = release.checkChain(evidence, policy, pack);
  return found(
    chain,
    `${quote(policy.source)} → ${chain.map(({ step }) => quote(step)).join(' → ')} → sha256:${pack.imageSha256}`,
  );
}

/** Which SBOM trusted builders bind to the image, and where it lies. */
export interface BoundSbom {
  readonly sha256: string;
  readonly body: PackedBody;
}

/** The SBOM's binding to the image; its bytes are `checkPackSbom`'s to judge. @throws SBOM_REFERENCE_…, CHAIN_BUILDER_NOT_TRUSTED, PACK_SBOM_MISSING */
export function findSbom(
  pack: EvidencePack,
  bundles: readonly VerifiedBundle[],
  { policy }: PackTrust,
): Finding<BoundSbom> {
  const sha256 = release.checkSbomReference(release.sbomReferencesOf(bundles), policy, pack.imageSha256);
  const bodies = pack.bodies.filter(({ mediaType }) => mediaType === CYCLONEDX_MEDIA_TYPE);
  // One that is not the referenced one is fetched too, so that it is refused for what it is.
  const body = bodies.find((listed) => listed.sha256 === sha256) ?? bodies[0];
  if (body === undefined) {
    throw PACK.reject(
      'PACK_SBOM_MISSING',
      `expected the pack to say where SBOM sha256:${sha256} lies, it does not`,
    );
  }
  return found({ sha256, body }, `sha256:${sha256} is bound to the image by its builders`);
}
