// SPDX-License-Identifier: Apache-2.0
// The steps of an update, in the order in which device/update.ts takes them [docs/spec/device.md §Order of an update].

import { createHash } from 'node:crypto';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { devicePolicyName, parseDevicePolicy } from '../core/release/device-policy.ts';
import type { EvidencePack } from '../core/release/pack.ts';
import {
  parseReleaseIndex,
  type Release,
  type ReleaseIndex,
  releaseIndexName,
} from '../core/release/release-index.ts';
import { parseLogPolicy } from '../core/tlog/log-policy.ts';
import { attestationVerifier } from '../core/verify/attestation-verifier.ts';
import { type Finding, found, type PackTrust } from '../core/verify/pack-steps.ts';
import { checkPackSbom, type LinkRunner, type VerifiedPack, verifyPack } from '../core/verify/verify-pack.ts';
import { downloadImage, IDLE_TIMEOUT_MS } from './download.ts';
import type { DeviceHost } from './host.ts';
import {
  type Choice,
  type Chooser,
  checkIndexProduct,
  checkPackDigest,
  checkPolicyScope,
  checkTarget,
  checkVersionFloor,
  chooseRelease,
  newerDenials,
} from './release-choice.ts';
import { checkLogSeen, checkTimeFloor, seenIn } from './seen.ts';
import { checkActive, checkDownload, checkReadBack, digestSlot, emptySlot, writeSlot } from './slot.ts';
import { type ActiveSlot, type DeviceIdentity, devicePaths, otherSlot, writeActive } from './state.ts';
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

/** Pack and image as the product's delegation names them. */
export interface Goods {
  readonly packBytes: Uint8Array;
  readonly image: TargetPlace;
}

/** Link 1. */
export async function refreshMetadata(device: Device): Promise<Finding<TufClient>> {
  checkTimeFloor(device.nowMs, device.active.seen);
  const tuf = await TufClient.open({
    root: device.root,
    registryUrl: device.identity.registryUrl,
    stateFolder: devicePaths(device.folder).tuf,
    nowMs: device.nowMs,
    host: device.host,
  });
  await tuf.refresh();
  const { version, expires } = tuf.role('targets').signed;
  return found(tuf, `targets version ${version}, good until ${expires}`);
}

/** Link 2: trust material, from top-level targets alone. */
export async function readTrust(device: Device, tuf: TufClient): Promise<Finding<PackTrust>> {
  const policyName = devicePolicyName(device.identity.product);
  const policy = parseDevicePolicy(await tuf.trustMaterial(policyName));
  checkPolicyScope(policy, chooser(device));
  const logPolicy = parseLogPolicy(await tuf.trustMaterial('tlog-policy'), device.host.crypto);
  const trustedRoot = await tuf.trustMaterial('trusted_root.json');
  const trust = { trustedRoot, keys: [policy.gate.publicKey] };
  const verifier = attestationVerifier(trust, device.host.crypto);
  return found(
    { policy, logPolicy, verifier },
    `trusted_root.json, tlog-policy and ${policyName} from top-level targets; gate ${quote(policy.gate.verifierId)}`,
  );
}

/** Link 3a: the index, from the product's own delegation alone. */
export async function readIndex(device: Device, tuf: TufClient): Promise<Finding<ReleaseIndex>> {
  const { product } = device.identity;
  const index = parseReleaseIndex(await tuf.goods(product, releaseIndexName(product), SIZE_MAX.index));
  checkIndexProduct(index, chooser(device));
  const { version, expires } = tuf.role(`releases-${product}`).signed;
  return found(
    index,
    `releases-${product} version ${version}, good until ${expires}; ${index.releases.length} releases, ${index.denials.length} denials`,
  );
}

/** Link 3b: the release for this device. */
export function choose(device: Device, index: ReleaseIndex): Finding<Choice> {
  const choice = chooseRelease(index, chooser(device));
  const denied = newerDenials(index, device.active.image).map(
    (denial) => `${denial.version} was withdrawn: ${quote(denial.reason)}`,
  );
  if (choice.kind === 'current') return found(choice, `up to date: ${choice.reason}`, ...denied);
  const { version, releasedAt } = choice.release;
  return found(choice, `${version} of ${releasedAt} for ${device.identity.hardwareId}`, ...denied);
}

/** Nothing newer is there: then what is installed must be whole. */
export async function checkActiveSlot({ host, folder, active }: Device): Promise<Finding<void>> {
  if (active.image === undefined) return found(undefined);
  const held = await digestSlot(host.files, devicePaths(folder).slot(active.slot));
  checkActive(held, active.image.sha256);
  return found(undefined, `slot ${active.slot} holds it, sha256:${held.sha256}`);
}

/** Link 3c: pack and image are targets of the delegation as the index says; the pack is fetched. */
export async function fetchPack(device: Device, tuf: TufClient, wanted: Release): Promise<Finding<Goods>> {
  const { product } = device.identity;
  const image = await tuf.goodsTarget(product, wanted.image.name);
  checkTarget(wanted.image, image);
  const packBytes = await tuf.goods(product, wanted.pack.name, SIZE_MAX.pack);
  const sha256 = createHash('sha256').update(packBytes).digest('hex');
  checkPackDigest({ sha256, sizeBytes: packBytes.length }, wanted);
  return found({ packBytes, image }, `${wanted.pack.name} sha256:${sha256}, ${packBytes.length} bytes`);
}

/** Links 4 to 10: the pack, from the log to the SBOM's binding. */
export function verifyGoods(
  device: Device,
  goods: Goods,
  trust: PackTrust,
  { version, image }: Release,
  run: LinkRunner,
): VerifiedPack {
  const release = { version, imageSha256: image.sha256, imageSizeBytes: image.sizeBytes };
  const { nowMs, host } = device;
  return verifyPack(goods.packBytes, { trust, release, nowMs }, host.crypto, run);
}

/** Link 5, continued: the log is not older than what was seen of it. */
export function checkLog({ active }: Device, verified: VerifiedPack): Finding<void> {
  return found(undefined, ...checkLogSeen(verified, active.seen));
}

/** Link 10, continued: the SBOM itself. */
export async function checkSbom(
  device: Device,
  tuf: TufClient,
  verified: VerifiedPack,
): Promise<Finding<void>> {
  const bytes = await tuf.goods(device.identity.product, verified.sbom.body.name, SIZE_MAX.sbom);
  return checkPackSbom(verified, bytes, device.host.crypto);
}

/** Link 11a: the image goes to the inactive slot. */
export async function fillSlot(device: Device, goods: Goods, pack: EvidencePack): Promise<Finding<void>> {
  const slot = otherSlot(device.active.slot);
  const stream = downloadImage(device.host, goods.image.url, device.cancel, {
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    sizeBytes: pack.imageSizeBytes,
  });
  const path = devicePaths(device.folder).slot(slot);
  const got = await writeSlot(device.host.files, path, stream, pack.imageSizeBytes);
  checkDownload(got, pack.imageSha256);
  return found(undefined, `${got.sizeBytes} bytes to slot ${slot}, sha256:${got.sha256}`);
}

/** Link 11b: the slot holds it. */
export async function readSlotBack(device: Device, pack: EvidencePack): Promise<Finding<void>> {
  const slot = otherSlot(device.active.slot);
  const held = await digestSlot(device.host.files, devicePaths(device.folder).slot(slot));
  checkReadBack(held, pack.imageSha256);
  return found(undefined, `slot ${slot} read back, sha256:${held.sha256}`);
}

/** Link 12. */
export function checkVersion(device: Device, wanted: Release): Finding<void> {
  const { versionFloor, image } = device.active;
  checkVersionFloor(wanted.version, versionFloor, image);
  return found(undefined, `${wanted.version} is above ${image?.version ?? 'nothing'}, floor ${versionFloor}`);
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
export async function switchSlot(device: Device, verified: VerifiedPack): Promise<Finding<ActiveSlot>> {
  const { pack } = verified;
  const previous = device.active.image?.sha256;
  const active: ActiveSlot = {
    slot: otherSlot(device.active.slot),
    image: { sha256: pack.imageSha256, version: pack.version, sizeBytes: pack.imageSizeBytes },
    versionFloor: pack.version,
    ...(previous === undefined ? {} : { previousSha256: previous }),
    reported: false,
    seen: seenIn(verified, device.active.seen),
  };
  await writeActive(device.host.files, device.folder, active);
  return found(active, `slot ${active.slot} is active, version floor ${active.versionFloor}`);
}

function chooser({ identity, active }: Device): Chooser {
  return { product: identity.product, hardwareId: identity.hardwareId, installed: active.image };
}
