// SPDX-License-Identifier: Apache-2.0
// What a device says of itself when asked: its records, and whether the active slot holds what they say.

import type { DeviceHost } from './host.ts';
import { queuedCounters } from './reports.ts';
import { digestSlot } from './slot.ts';
import { devicePaths, isEnrolled, readActive, readCounter, readIdentity, type SlotName } from './state.ts';

export interface DeviceStatus {
  readonly device: string;
  readonly product: string;
  readonly hardwareId: string;
  readonly registryUrl: string;
  readonly enrolled: boolean;
  readonly active: {
    readonly slot: SlotName;
    readonly version?: string;
    readonly sha256?: string;
    /** True if the slot holds the recorded image, or nothing was ever installed. */
    readonly intact: boolean;
  };
  readonly versionFloor: string;
  readonly reportCounter: number;
  readonly reportsQueued: number;
}

/** Reads the folder and hashes the active slot. @throws DEVICE_NOT_INITIALISED, DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function readStatus(folder: string, { files }: DeviceHost): Promise<DeviceStatus> {
  const identity = await readIdentity(files, folder);
  const { slot, image, versionFloor } = await readActive(files, folder);
  const held = await digestSlot(files, devicePaths(folder).slot(slot));
  return {
    device: identity.id,
    product: identity.product,
    hardwareId: identity.hardwareId,
    registryUrl: identity.registryUrl,
    enrolled: await isEnrolled(files, folder),
    active: {
      slot,
      ...(image === undefined ? {} : { version: image.version, sha256: image.sha256 }),
      intact: image === undefined || held.sha256 === image.sha256,
    },
    versionFloor,
    reportCounter: await readCounter(files, folder),
    reportsQueued: (await queuedCounters(files, folder)).length,
  };
}
