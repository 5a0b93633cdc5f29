// SPDX-License-Identifier: Apache-2.0
// How a device comes to be: made in its folder, then registered with proof that it holds its key
// [docs/spec/install-report.md §Enrolment].

import { base64Encode } from '../core/encoding/base64.ts';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import { quote } from '../core/faults.ts';
import { isProductName, isVersion } from '../core/release/version.ts';
import { verifyTrustedRoot } from '../core/tuf/trusted-metadata.ts';
import { type DeviceKey, makeDeviceKey, readDeviceKey } from './device-key.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles, DeviceHost } from './host.ts';
import { copyPath, writeRecord } from './records.ts';
import { callRegistry } from './registry-call.ts';
import { writeSlot } from './slot.ts';
import {
  type DeviceIdentity,
  devicePaths,
  type InstalledImage,
  readIdentity,
  writeActive,
  writeIdentity,
} from './state.ts';

/** What the factory gives a device. */
export interface FactorySettings {
  /** Made from the key if absent. */
  readonly id?: string | undefined;
  readonly product: string;
  readonly hardwareId: string;
  readonly registryUrl: string;
  readonly versionFloor: string;
  /** Bytes of the TUF root.json that the device trusts. */
  readonly root: Uint8Array;
  readonly image?: { readonly bytes: Uint8Array; readonly version: string } | undefined;
}

/** What a registry accepts [docs/spec/install-report.md §Enrolment]. */
const DEVICE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** What a device has and an attempt to make one that was cut off has not; the root that `tuf/` kept would count, not the one given. */
const OF_A_DEVICE = /^(device\.json|enrolled|counter)(\.copy)?$|^(tuf|reports)$/;
const HARDWARE_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * Makes a device in a folder that has none. `device.json` is written last: without it there is no device.
 * @throws DEVICE_SETTING_MALFORMED, DEVICE_EXISTS, DEVICE_STATE_UNWRITABLE, SLOT_UNWRITABLE, and what a bad root throws
 */
export async function makeDevice(
  folder: string,
  settings: FactorySettings,
  host: DeviceHost,
): Promise<DeviceIdentity> {
  checkSettings(settings);
  const { files } = host;
  const paths = devicePaths(folder);
  const found = (await files.list(folder)).find((name) => OF_A_DEVICE.test(name));
  if (found !== undefined) {
    throw DEVICE.reject('DEVICE_EXISTS', `expected no device in ${quote(folder)}, found ${quote(found)}`);
  }
  // A root that cannot be opened now would leave a device that can never be updated.
  verifyTrustedRoot(settings.root, host.crypto);
  await files.write(paths.root, settings.root);
  const key = await makeDeviceKey(files, folder);
  const image = settings.image === undefined ? undefined : await fillFirstSlot(files, folder, settings.image);
  await writeActive(files, folder, {
    slot: 'a',
    ...(image === undefined ? {} : { image }),
    versionFloor: settings.versionFloor,
    // The factory knows what it installed.
    reported: true,
  });
  const identity: DeviceIdentity = {
    id: settings.id ?? `${settings.product}-${key.keyId.slice(0, 12)}`,
    product: settings.product,
    hardwareId: settings.hardwareId,
    registryUrl: settings.registryUrl.replace(/\/+$/, ''),
    versionFloor: settings.versionFloor,
  };
  try {
    await writeIdentity(files, folder, identity);
  } catch (failure) {
    // Half of the record would be a device that nobody was told of.
    await files.remove(copyPath(paths.device)).catch(() => undefined);
    throw failure;
  }
  return identity;
}

function checkSettings(settings: FactorySettings): void {
  const bad = (option: string, expected: string, got: string) =>
    DEVICE.reject('DEVICE_SETTING_MALFORMED', `${option}: expected ${expected}, got ${quote(got)}`);
  const { id, product, hardwareId, registryUrl, versionFloor, image } = settings;
  if (id !== undefined && !DEVICE_ID.test(id))
    throw bad('device id', 'letters, digits, dots and hyphens', id);
  if (!isProductName(product)) throw bad('product', 'lower-case letters, digits and hyphens', product);
  if (!HARDWARE_ID.test(hardwareId)) throw bad('hardware id', 'printable ASCII without spaces', hardwareId);
  if (!isVersion(versionFloor)) throw bad('version floor', 'a version such as 8.1.0', versionFloor);
  if (!isHttpUrl(registryUrl)) throw bad('registry', 'a URL with http or https', registryUrl);
  if (image !== undefined && !isVersion(image.version)) {
    throw bad('initial version', 'a version such as 8.1.0', image.version);
  }
  if (image?.bytes.length === 0) throw bad('initial image', 'at least one byte', '');
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.canParse(text);
}

async function fillFirstSlot(
  files: DeviceFiles,
  folder: string,
  { bytes, version }: { readonly bytes: Uint8Array; readonly version: string },
): Promise<InstalledImage> {
  async function* once() {
    yield bytes;
  }
  const written = await writeSlot(files, devicePaths(folder).slot('a'), once(), bytes.length);
  return { ...written, version };
}

/**
 * Registers the device's public key; the token is used once and not kept.
 * @throws DEVICE_ENROLMENT_REFUSED, DEVICE_REGISTRY_UNREACHABLE, and what reading the folder throws
 */
export async function enrolDevice(folder: string, token: string, host: DeviceHost): Promise<DeviceIdentity> {
  const identity = await readIdentity(host.files, folder);
  const key = await readDeviceKey(host.files, folder);
  const answer = await callRegistry(
    host,
    `${identity.registryUrl}/api/v1/devices`,
    enrolmentRequest(identity, key),
    token,
  );
  if (!answer.ok) {
    throw DEVICE.reject(
      'DEVICE_ENROLMENT_REFUSED',
      `the registry at ${quote(identity.registryUrl)} answered ${answer.said}`,
    );
  }
  await writeRecord(host.files, devicePaths(folder).enrolled, {
    registryUrl: identity.registryUrl,
    publicKeySha256: key.keyId,
  });
  return identity;
}

/** The body of the request: the key, who holds it, and a signature that proves it. */
function enrolmentRequest(identity: DeviceIdentity, key: DeviceKey): Uint8Array {
  const claim = {
    deviceId: identity.id,
    product: identity.product,
    hardwareId: identity.hardwareId,
    publicKey: base64Encode(key.publicKey),
  };
  return canonicalJsonBytes({ ...claim, proof: base64Encode(key.sign(canonicalJsonBytes(claim))) });
}
