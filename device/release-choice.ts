// SPDX-License-Identifier: Apache-2.0
// Which release a device wants, and whether what is offered is that release [docs/spec/device.md §Order of an update]. Pure.

import { quote, several } from '../core/faults.ts';
import type { DevicePolicy } from '../core/release/device-policy.ts';
import type { Denial, Release, ReleaseFile, ReleaseIndex } from '../core/release/release-index.ts';
import { compareVersions } from '../core/release/version.ts';
import { DEVICE } from './faults.ts';
import type { InstalledImage } from './state.ts';

/** What a device brings to the choice. */
export interface Chooser {
  readonly product: string;
  readonly hardwareId: string;
  readonly installed?: InstalledImage | undefined;
}

export type Choice =
  | { readonly kind: 'candidate'; readonly release: Release }
  | { readonly kind: 'current'; readonly reason: string };

/** The device policy speaks about this device. @throws UPDATE_POLICY_MISMATCH */
export function checkPolicyScope(policy: DevicePolicy, device: Chooser): void {
  if (policy.product !== device.product) {
    throw DEVICE.reject(
      'UPDATE_POLICY_MISMATCH',
      `expected the policy of ${quote(device.product)}, got that of ${quote(policy.product)}`,
    );
  }
  if (!policy.hardwareIds.includes(device.hardwareId)) {
    throw DEVICE.reject(
      'UPDATE_POLICY_MISMATCH',
      `expected a policy for hardware ${quote(device.hardwareId)}, got one for ${list(policy.hardwareIds)}`,
    );
  }
}

/** The index is that of the device's product. @throws UPDATE_PRODUCT_MISMATCH */
export function checkIndexProduct(index: ReleaseIndex, device: Chooser): void {
  if (index.product !== device.product) {
    throw DEVICE.reject(
      'UPDATE_PRODUCT_MISMATCH',
      `expected the releases of ${quote(device.product)}, got those of ${quote(index.product)}`,
    );
  }
}

/**
 * The newest release for the device's hardware, whether or not it is newer than the installed one: an older one is
 * refused at the end of the road, with everything else about it known.
 * @throws UPDATE_HARDWARE_MISMATCH, UPDATE_WITHDRAWN, UPDATE_INSTALLED_WITHDRAWN
 */
export function chooseRelease(index: ReleaseIndex, device: Chooser): Choice {
  const { installed } = device;
  const fitting = index.releases.filter((release) => release.hardwareIds.includes(device.hardwareId));
  const newest = fitting.at(-1);
  checkInstalledDenial(index, newest, installed);
  checkHardware(index, newest, device);
  checkOfferDenial(index, newest, installed);
  if (newest === undefined) return { kind: 'current', reason: 'nothing was released yet' };
  if (installed?.version === newest.version && installed.sha256 === newest.image.sha256) {
    return { kind: 'current', reason: `${newest.version} is installed and the newest` };
  }
  return { kind: 'candidate', release: newest };
}

function checkHardware(index: ReleaseIndex, newest: Release | undefined, device: Chooser): void {
  if (newest !== undefined || index.releases.length === 0) return;
  const offered = new Set(index.releases.flatMap((release) => release.hardwareIds));
  throw DEVICE.reject(
    'UPDATE_HARDWARE_MISMATCH',
    `expected a release for hardware ${quote(device.hardwareId)}, got releases for ${list([...offered])}`,
  );
}

function checkInstalledDenial(
  index: ReleaseIndex,
  newest: Release | undefined,
  installed: InstalledImage | undefined,
): void {
  if (installed === undefined) return;
  const denial = denialOf(index, installed.sha256);
  if (denial === undefined) return;
  // Something newer is the cure, and the road to it is open, unless it is denied itself.
  if (
    newest !== undefined &&
    isNewer(newest.version, installed) &&
    denialOf(index, newest.image.sha256) === undefined
  )
    return;
  throw DEVICE.reject(
    'UPDATE_INSTALLED_WITHDRAWN',
    `the installed version ${installed.version} was withdrawn on ${denial.deniedAt}: ${quote(denial.reason)}`,
  );
}

/** No denial names the image, whatever else is offered. @throws UPDATE_WITHDRAWN */
export function refuseDenied(index: ReleaseIndex, imageSha256: string): void {
  const denial = denialOf(index, imageSha256);
  if (denial !== undefined) throw withdrawn(denial);
}

function withdrawn({ version, deniedAt, reason }: Denial) {
  return DEVICE.reject(
    'UPDATE_WITHDRAWN',
    `version ${version} was withdrawn on ${deniedAt}: ${quote(reason)}`,
  );
}

function denialOf(index: ReleaseIndex, sha256: string): Denial | undefined {
  return index.denials.find(({ imageSha256 }) => imageSha256 === sha256);
}

function checkOfferDenial(
  index: ReleaseIndex,
  newest: Release | undefined,
  installed: InstalledImage | undefined,
): void {
  const denial =
    newest === undefined
      ? index.denials.find(({ version }) => isNewer(version, installed))
      : denialOf(index, newest.image.sha256);
  if (denial !== undefined) throw withdrawn(denial);
}

/** Denials that name something newer than what is installed: worth a line even if another release is taken. */
export function newerDenials(index: ReleaseIndex, installed: InstalledImage | undefined): readonly Denial[] {
  return index.denials.filter(({ version }) => isNewer(version, installed));
}

function isNewer(version: string, installed: InstalledImage | undefined): boolean {
  return installed === undefined || compareVersions(version, installed.version) > 0;
}

/** The index and the signed targets of the delegation agree about a file. @throws UPDATE_TARGET_MISMATCH */
export function checkTarget(
  file: ReleaseFile,
  target: { readonly sha256: string; readonly sizeBytes: number },
): void {
  if (target.sha256 !== file.sha256 || target.sizeBytes !== file.sizeBytes) {
    throw DEVICE.reject(
      'UPDATE_TARGET_MISMATCH',
      `${quote(file.name)}: the index says sha256:${file.sha256} (${file.sizeBytes} bytes), ` +
        `the delegation sha256:${target.sha256} (${target.sizeBytes} bytes)`,
    );
  }
}

/** The pack's bytes are those that the index names. @throws UPDATE_PACK_DIGEST */
export function checkPackDigest(
  got: { readonly sha256: string; readonly sizeBytes: number },
  { pack }: Release,
): void {
  if (got.sha256 !== pack.sha256 || got.sizeBytes !== pack.sizeBytes) {
    throw DEVICE.reject(
      'UPDATE_PACK_DIGEST',
      `expected the pack sha256:${pack.sha256} (${pack.sizeBytes} bytes), got sha256:${got.sha256} (${got.sizeBytes} bytes)`,
    );
  }
}

/** Not below the floor, and newer than what is installed. @throws UPDATE_VERSION_FLOOR */
export function checkVersionFloor(
  version: string,
  floor: string,
  installed: InstalledImage | undefined,
): void {
  if (compareVersions(version, floor) < 0) {
    throw DEVICE.reject('UPDATE_VERSION_FLOOR', `expected at least version ${floor}, got ${version}`);
  }
  if (!isNewer(version, installed)) {
    throw DEVICE.reject(
      'UPDATE_VERSION_FLOOR',
      `expected a version higher than the installed ${installed?.version}, got ${version}`,
    );
  }
}

function list(items: readonly string[]): string {
  return several(items.map(quote));
}
