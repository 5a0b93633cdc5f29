// SPDX-License-Identifier: Apache-2.0
// Everything that a release consists of, made and checked before anything is signed [docs/spec/evidence-pack.md §Making]: what a
// device would refuse is refused here, at the desk of the release manager.

import { createHash } from 'node:crypto';
import type { Crypto } from '../core/crypto.ts';
import { quote } from '../core/faults.ts';
import { CYCLONEDX_MEDIA_TYPE } from '../core/intoto/reference.ts';
import { checkWitnesses, type DevicePolicy } from '../core/release/device-policy.ts';
import { type EvidencePack, formatPack, parsePack } from '../core/release/pack.ts';
import {
  formatReleaseIndex,
  parseReleaseIndex,
  type ReleaseIndex,
  releaseIndexName,
} from '../core/release/release-index.ts';
import type { LogPolicy } from '../core/tlog/log-policy.ts';
import {
  checkBuilders,
  checkChain,
  checkHermetic,
  checkKinds,
  checkSbomBinding,
  checkSbomReference,
  provenanceOf,
  sbomReferencesOf,
} from '../core/verify/release-checks.ts';
import type { BundleVerifier } from '../core/verify/verified.ts';
import { RELEASE } from './faults.ts';
import { type GoodsFile, goodsNames, goodsOf } from './goods.ts';
import { type KeptBundle, proveInclusion } from './inclusion.ts';
import { addRelease, checkReleasable } from './index-changes.ts';
import type { Registry } from './registry.ts';
import { chooseSummary, type FoundSummary } from './summary.ts';

export interface ReleaseRequest {
  readonly registry: Registry;
  /** Knows the trusted root and the gate's key that the device policy names. */
  readonly verifier: BundleVerifier;
  /** Whose checkpoints devices believe. */
  readonly logPolicy: LogPolicy;
  readonly crypto: Crypto;
  readonly policy: DevicePolicy;
  readonly index: ReleaseIndex;
  readonly version: string;
  readonly image: { readonly sha256: string; readonly sizeBytes: number; readonly body: Uint8Array | Blob };
  /** Which of the policy's hardware ids the release is for. */
  readonly hardwareIds: readonly string[];
  /** RFC 3339, whole seconds. */
  readonly releasedAt: string;
}

export interface PreparedRelease {
  readonly index: ReleaseIndex;
  /** Image, SBOM, pack and the new index: all that the role must name. */
  readonly files: readonly GoodsFile[];
  readonly image: GoodsFile;
  readonly pack: GoodsFile;
  readonly sbom: GoodsFile;
  /** SHA-256 of the summary's bundle. */
  readonly summarySha256: string;
  readonly bundleCount: number;
  /** Tree size of the one checkpoint. */
  readonly treeSize: bigint;
}

/**
 * Makes a release; nothing is signed or published.
 * @throws RELEASE_VERSION_NOT_HIGHER, RELEASE_IMAGE_WITHDRAWN, RELEASE_HARDWARE_UNKNOWN, RELEASE_SUMMARY_MISSING, EVIDENCE_*,
 * INTOTO_PREDICATE_UNKNOWN, CHAIN_*, SBOM_*, PACK_MALFORMED, RELEASE_INDEX_MALFORMED, TLOG_*, RELEASE_REGISTRY_*, and what the
 * verifier throws
 */
export async function prepareRelease(request: ReleaseRequest): Promise<PreparedRelease> {
  const { policy, index, version, image } = request;
  const names = goodsNames(policy.product, version);
  checkReleasable(index, version, image.sha256);
  checkHardware(request);
  const about = await request.registry.bundlesAbout(image.sha256);
  const summary = chooseSummary(about, request.verifier, {
    gate: policy.gate,
    product: policy.product,
    version,
    imageSha256: image.sha256,
  });
  const inputs = await fetchInputs(request, summary);
  const sbom = goodsOf(names.sbom, await fetchSbom(request, inputs));
  const kept = [...inputs, { bytes: summary.bytes, verified: summary.bundle }];
  const proved = await proveInclusion(request.registry, request.logPolicy, kept, request.crypto);
  checkWitnesses(policy, request.logPolicy, proved.witnesses, Date.parse(request.releasedAt));
  const pack = packFile(names.pack, {
    product: policy.product,
    version,
    imageSha256: image.sha256,
    imageSizeBytes: image.sizeBytes,
    checkpoint: proved.checkpoint,
    bundles: proved.bundles,
    bodies: [{ ...fileOf(sbom), mediaType: CYCLONEDX_MEDIA_TYPE }],
  });
  const named: GoodsFile = { name: names.image, ...image };
  const next = addRelease(index, {
    version,
    image: fileOf(named),
    pack: fileOf(pack),
    hardwareIds: request.hardwareIds,
    releasedAt: request.releasedAt,
  });
  return {
    index: next,
    files: [named, sbom, pack, indexFile(next)],
    image: named,
    pack,
    sbom,
    summarySha256: summary.bundle.sha256,
    bundleCount: kept.length,
    treeSize: proved.treeSize,
  };
}

/** The index as the file that the role names, read back as devices will read it. @throws RELEASE_INDEX_MALFORMED */
export function indexFile(index: ReleaseIndex): GoodsFile {
  const bytes = formatReleaseIndex(index);
  parseReleaseIndex(bytes);
  return goodsOf(releaseIndexName(index.product), bytes);
}

/** The pack as the file that the role names, read back as devices will read it. @throws PACK_MALFORMED */
function packFile(name: string, pack: EvidencePack): GoodsFile {
  const bytes = formatPack(pack);
  parsePack(bytes);
  return goodsOf(name, bytes);
}

function fileOf({ name, sha256, sizeBytes }: GoodsFile) {
  return { name, sha256, sizeBytes };
}

function checkHardware({ hardwareIds, policy }: ReleaseRequest): void {
  const unknown = hardwareIds.find((id) => !policy.hardwareIds.includes(id));
  if (unknown !== undefined || hardwareIds.length === 0) {
    throw RELEASE.reject(
      'RELEASE_HARDWARE_UNKNOWN',
      `expected hardware ids among ${policy.hardwareIds.map(quote).join(', ')}, got ${unknown === undefined ? 'none' : quote(unknown)}`,
    );
  }
}

/** The bundles that the gate used, all of them, fetched by digest, verified, and judged as devices will judge them. */
async function fetchInputs(request: ReleaseRequest, { summary }: FoundSummary): Promise<KeptBundle[]> {
  const kept: KeptBundle[] = [];
  for (const sha256 of [...new Set(summary.inputAttestations)].sort()) {
    const { bytes } = await request.registry.bundle(sha256);
    kept.push({ bytes, verified: request.verifier.verify(bytes) });
  }
  const { policy, version } = request;
  const bundles = kept.map(({ verified }) => verified);
  checkKinds(bundles);
  const steps = provenanceOf(bundles);
  checkBuilders(steps, policy);
  checkHermetic(steps);
  checkChain(steps, policy, { version, imageSha256: request.image.sha256 });
  return kept;
}

async function fetchSbom(request: ReleaseRequest, inputs: readonly KeptBundle[]): Promise<Uint8Array> {
  const imageSha256 = request.image.sha256;
  const references = sbomReferencesOf(inputs.map(({ verified }) => verified));
  const sbomSha256 = checkSbomReference(references, request.policy, imageSha256);
  const bytes = await request.registry.blob(sbomSha256);
  if (bytes === undefined) {
    throw RELEASE.reject(
      'EVIDENCE_WITHHELD',
      `expected the SBOM sha256:${sbomSha256}, the registry has none`,
    );
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  checkSbomBinding({ bytes, sha256 }, { sbomSha256, imageSha256 });
  return bytes;
}
