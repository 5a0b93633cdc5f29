// SPDX-License-Identifier: Apache-2.0
// The steps of an update, in the order in which device/update.ts takes them [docs/spec/device.md §Order of an update].

import { createHash } from 'node:crypto';
import { quote } from '../core/faults.ts';
import { CYCLONEDX_MEDIA_TYPE } from '../core/intoto/reference.ts';
import { LIMITS } from '../core/limits.ts';
import { type DevicePolicy, devicePolicyName, parseDevicePolicy } from '../core/release/device-policy.ts';
import { type EvidencePack, type PackedBody, parsePack } from '../core/release/pack.ts';
import {
  parseReleaseIndex,
  type Release,
  type ReleaseIndex,
  releaseIndexName,
} from '../core/release/release-index.ts';
import { type LogPolicy, parseLogPolicy } from '../core/tlog/log-policy.ts';
import { attestationVerifier } from '../core/verify/attestation-verifier.ts';
import * as release from '../core/verify/release-checks.ts';
import type { BundleVerifier, VerifiedBundle } from '../core/verify/verified.ts';
import { downloadImage, IDLE_TIMEOUT_MS } from './download.ts';
import { DEVICE } from './faults.ts';
import type { DeviceHost } from './host.ts';
import { checkPackProofs } from './log-evidence.ts';
import {
  type Choice,
  type Chooser,
  checkClock,
  checkIndexProduct,
  checkPackDigest,
  checkPackRelease,
  checkPolicyScope,
  checkTarget,
  checkVersionFloor,
  chooseRelease,
  newerDenials,
} from './release-choice.ts';
import { type Learned, learned } from './road.ts';
import { checkDownload, checkReadBack, digestSlot, emptySlot, writeSlot } from './slot.ts';
import { type ActiveSlot, type DeviceIdentity, devicePaths, otherSlot, writeActive } from './state.ts';
import { checkSummary } from './summary.ts';
import { type TargetPlace, TufClient } from './tuf-client.ts';

/** Largest files, in bytes; the image may be as long as signed metadata says. */
const SIZE_MAX = {
  index: LIMITS.releaseIndexSizeBytes,
  pack: LIMITS.jsonSizeBytes,
  sbom: LIMITS.jsonSizeBytes,
};

/** The device at the start of an update. */
export interface Device {
  readonly folder: string;
  readonly host: DeviceHost;
  readonly identity: DeviceIdentity;
  readonly active: ActiveSlot;
  /** The factory's TUF root. */
  readonly root: Uint8Array;
  /** Read once [TUF-1.0.34 §5.1]. */
  readonly nowMs: number;
  readonly cancel: AbortSignal;
}

/** Trust material of top-level targets. */
export interface DeviceTrust {
  readonly policy: DevicePolicy;
  readonly logPolicy: LogPolicy;
  readonly verifier: BundleVerifier;
}

/** Pack and image as the product's delegation names them. */
export interface Goods {
  readonly packBytes: Uint8Array;
  readonly image: TargetPlace;
}

/** Link 1. */
export async function refreshMetadata(device: Device): Promise<Learned<TufClient>> {
  const tuf = await TufClient.open({
    root: device.root,
    registryUrl: device.identity.registryUrl,
    stateFolder: devicePaths(device.folder).tuf,
    nowMs: device.nowMs,
    host: device.host,
  });
  await tuf.refresh();
  const { version, expires } = tuf.role('targets').signed;
  return learned(tuf, `targets version ${version}, good until ${expires}`);
}

/** Link 2: trust material, from top-level targets alone. */
export async function readTrust(device: Device, tuf: TufClient): Promise<Learned<DeviceTrust>> {
  const policyName = devicePolicyName(device.identity.product);
  const policy = parseDevicePolicy(await tuf.trustMaterial(policyName));
  checkPolicyScope(policy, chooser(device));
  const logPolicy = parseLogPolicy(await tuf.trustMaterial('tlog-policy'), device.host.crypto);
  const trustedRoot = await tuf.trustMaterial('trusted_root.json');
  const trust = { trustedRoot, keys: [policy.gate.publicKey] };
  const verifier = attestationVerifier(trust, device.host.crypto);
  return learned(
    { policy, logPolicy, verifier },
    `trusted_root.json, tlog-policy and ${policyName} from top-level targets; gate ${quote(policy.gate.verifierId)}`,
  );
}

/** Link 3a: the index, from the product's own delegation alone. */
export async function readIndex(device: Device, tuf: TufClient): Promise<Learned<ReleaseIndex>> {
  const { product } = device.identity;
  const index = parseReleaseIndex(await tuf.goods(product, releaseIndexName(product), SIZE_MAX.index));
  checkIndexProduct(index, chooser(device));
  const { version, expires } = tuf.role(`releases-${product}`).signed;
  return learned(
    index,
    `releases-${product} version ${version}, good until ${expires}; ${index.releases.length} releases, ${index.denials.length} denials`,
  );
}

/** Link 3b: the release for this device. */
export function choose(device: Device, index: ReleaseIndex): Learned<Choice> {
  const choice = chooseRelease(index, chooser(device));
  const denied = newerDenials(index, device.active.image).map(
    (denial) => `${denial.version} was withdrawn: ${quote(denial.reason)}`,
  );
  if (choice.kind === 'current') return learned(choice, `up to date: ${choice.reason}`, ...denied);
  const { version, releasedAt } = choice.release;
  return learned(choice, `${version} of ${releasedAt} for ${device.identity.hardwareId}`, ...denied);
}

/** Link 3c: pack and image are targets of the delegation as the index says; the pack is fetched. */
export async function fetchPack(device: Device, tuf: TufClient, wanted: Release): Promise<Learned<Goods>> {
  const { product } = device.identity;
  const image = await tuf.goodsTarget(product, wanted.image.name);
  checkTarget(wanted.image, image);
  const packBytes = await tuf.goods(product, wanted.pack.name, SIZE_MAX.pack);
  const sha256 = createHash('sha256').update(packBytes).digest('hex');
  checkPackDigest({ sha256, sizeBytes: packBytes.length }, wanted);
  return learned({ packBytes, image }, `${wanted.pack.name} sha256:${sha256}, ${packBytes.length} bytes`);
}

/** Link 4: the pack is about this release. */
export function readPack(device: Device, goods: Goods, wanted: Release): Learned<EvidencePack> {
  const pack = parsePack(goods.packBytes);
  checkPackRelease(pack, wanted, chooser(device));
  return learned(
    pack,
    `${pack.product} ${pack.version}, image sha256:${pack.imageSha256}, ${pack.bundles.length} bundles`,
  );
}

/** Link 5: the log holds every bundle's entry. */
export function checkLog(device: Device, pack: EvidencePack, trust: DeviceTrust): Learned<void> {
  const { logPolicy, policy } = trust;
  return learned(undefined, ...checkPackProofs(pack, logPolicy, policy.gate.publicKey, device.host.crypto));
}

/** Link 6: every bundle, against trusted root and gate key. */
export function verifyBundles(
  device: Device,
  pack: EvidencePack,
  trust: DeviceTrust,
): Learned<readonly VerifiedBundle[]> {
  const bundles = pack.bundles.map(({ bundle }) => trust.verifier.verify(bundle));
  checkClock(bundles, device.nowMs);
  return learned(bundles, ...bundles.map(describeBundle));
}

function describeBundle({ statement, signer, signedAtMs, leafIndex }: VerifiedBundle): string {
  // The check of the log lets one key alone sign without a certificate.
  const who = signer.kind === 'certificate' ? quote(signer.identity) : 'the gate key';
  return `${quote(statement.predicateType)} by ${who} at ${instant(signedAtMs)}, log index ${leafIndex}`;
}

/** Link 7: the gate's decision. */
export function checkGate(
  device: Device,
  pack: EvidencePack,
  bundles: readonly VerifiedBundle[],
  trust: DeviceTrust,
): Learned<void> {
  const { product } = device.identity;
  const { version, imageSha256 } = pack;
  const { summary, bundle } = checkSummary(bundles, {
    gate: trust.policy.gate,
    product,
    version,
    imageSha256,
  });
  release.checkKinds(bundles.filter((other) => other !== bundle));
  return learned(
    undefined,
    `${summary.result} by ${quote(summary.verifierId)} at ${instant(summary.timeVerifiedMs)}, policy ${quote(summary.policyUri)}, ` +
      `${summary.inputAttestations.length} inputs, all here`,
  );
}

/** Link 8: who ran each step, and how. */
export function checkBuilders(bundles: readonly VerifiedBundle[], trust: DeviceTrust): Learned<void> {
  const evidence = release.provenanceOf(bundles);
  release.checkBuilders(evidence, trust.policy);
  release.checkHermetic(evidence);
  return learned(
    undefined,
    ...evidence.map(
      ({ step, builderId, sandbox }) =>
        `step ${quote(step)} by ${quote(builderId)}, hermetic (${quote(sandbox.mechanism)})`,
    ),
  );
}

/** Link 9: from source to image. */
export function checkChain(
  pack: EvidencePack,
  bundles: readonly VerifiedBundle[],
  trust: DeviceTrust,
): Learned<void> {
  const chain = release.checkChain(release.provenanceOf(bundles), trust.policy, pack);
  return learned(
    undefined,
    `${quote(trust.policy.source)} → ${chain.map(({ step }) => quote(step)).join(' → ')} → sha256:${pack.imageSha256}`,
  );
}

/** Link 10: the SBOM's binding to the image. */
export async function checkSbom(
  device: Device,
  tuf: TufClient,
  pack: EvidencePack,
  bundles: readonly VerifiedBundle[],
  trust: DeviceTrust,
): Promise<Learned<void>> {
  const { imageSha256 } = pack;
  const sbomSha256 = release.checkSbomReference(release.sbomReferencesOf(bundles), trust.policy, imageSha256);
  const body = sbomBody(pack, sbomSha256);
  const bytes = await tuf.goods(device.identity.product, body.name, SIZE_MAX.sbom);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const count = release.checkSbomBinding({ bytes, sha256 }, { sbomSha256, imageSha256 });
  return learned(undefined, `${quote(body.name)} sha256:${sha256} describes the image, ${count} components`);
}

/** Where the SBOM lies; one that is not the referenced one is fetched too, so that it is refused for what it is. */
function sbomBody(pack: EvidencePack, sbomSha256: string): PackedBody {
  const bodies = pack.bodies.filter(({ mediaType }) => mediaType === CYCLONEDX_MEDIA_TYPE);
  const body = bodies.find(({ sha256 }) => sha256 === sbomSha256) ?? bodies[0];
  if (body === undefined) {
    throw DEVICE.reject(
      'UPDATE_SBOM_MISSING',
      `expected the pack to say where SBOM sha256:${sbomSha256} lies, it does not`,
    );
  }
  return body;
}

/** Link 11a: the image goes to the inactive slot. */
export async function fillSlot(device: Device, goods: Goods, pack: EvidencePack): Promise<Learned<void>> {
  const slot = otherSlot(device.active.slot);
  const stream = downloadImage(device.host, goods.image.url, device.cancel, {
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    sizeBytes: pack.imageSizeBytes,
  });
  const path = devicePaths(device.folder).slot(slot);
  const got = await writeSlot(device.host.files, path, stream, pack.imageSizeBytes);
  checkDownload(got, pack.imageSha256);
  return learned(undefined, `${got.sizeBytes} bytes to slot ${slot}, sha256:${got.sha256}`);
}

/** Link 11b: the slot holds it. */
export async function readSlotBack(device: Device, pack: EvidencePack): Promise<Learned<void>> {
  const slot = otherSlot(device.active.slot);
  const held = await digestSlot(device.host.files, devicePaths(device.folder).slot(slot));
  checkReadBack(held, pack.imageSha256);
  return learned(undefined, `slot ${slot} read back, sha256:${held.sha256}`);
}

/** Link 12. */
export function checkVersion(device: Device, wanted: Release): Learned<void> {
  const { versionFloor, image } = device.active;
  checkVersionFloor(wanted.version, versionFloor, image);
  return learned(
    undefined,
    `${wanted.version} is above ${image?.version ?? 'nothing'}, floor ${versionFloor}`,
  );
}

/** Empties the inactive slot if what fills it does not hold: no boot loader may find a refused image there. */
export async function orEmptySlot(device: Device, fill: () => Promise<void>): Promise<void> {
  try {
    await fill();
  } catch (failure) {
    await emptySlot(device.host.files, devicePaths(device.folder).slot(otherSlot(device.active.slot)));
    throw failure;
  }
}

/** Link 13: one rename. */
export async function switchSlot(device: Device, pack: EvidencePack): Promise<Learned<ActiveSlot>> {
  const previous = device.active.image?.sha256;
  const active: ActiveSlot = {
    slot: otherSlot(device.active.slot),
    image: { sha256: pack.imageSha256, version: pack.version, sizeBytes: pack.imageSizeBytes },
    versionFloor: pack.version,
    ...(previous === undefined ? {} : { previousSha256: previous }),
    reported: false,
  };
  await writeActive(device.host.files, device.folder, active);
  return learned(active, `slot ${active.slot} is active, version floor ${active.versionFloor}`);
}

function chooser({ identity, active }: Device): Chooser {
  return { product: identity.product, hardwareId: identity.hardwareId, installed: active.image };
}

function instant(ms: number): string {
  return new Date(ms).toISOString();
}
