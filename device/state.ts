// SPDX-License-Identifier: Apache-2.0
// What a device knows about itself [docs/spec/device.md §Folder]: who it is, which slot is active, how often it reported.

import type { DocumentNode } from '../core/encoding/document.ts';
import type { JsonObject } from '../core/encoding/strict-json.ts';
import { quote, Unavailable } from '../core/faults.ts';
import { isProductName, isVersion } from '../core/release/version.ts';
import { DEVICE } from './faults.ts';
import type { DeviceFiles } from './host.ts';
import { readRecord, writeRecord } from './records.ts';
import type { Seen } from './seen.ts';
import { digestSlot } from './slot.ts';

/** Fixed at `init`. */
export interface DeviceIdentity {
  readonly id: string;
  readonly product: string;
  readonly hardwareId: string;
  /** Base URL of `waybill serve`, without a slash at its end. */
  readonly registryUrl: string;
  /** The lowest version that this device ever accepts. */
  readonly versionFloor: string;
}

export type SlotName = 'a' | 'b';

/** An image in a slot. `sha256` is lower-case hex. */
export interface InstalledImage {
  readonly sha256: string;
  readonly version: string;
  readonly sizeBytes: number;
}

/** What changes with one rename: slot, image and floor. */
export interface ActiveSlot {
  readonly slot: SlotName;
  /** Absent while no image was ever installed. */
  readonly image?: InstalledImage;
  readonly versionFloor: string;
  /** Digest of the image before this one. */
  readonly previousSha256?: string;
  /** Absent while no image was ever installed. */
  readonly seen?: Seen;
  /** True once the report about this image is in the queue. */
  readonly reported: boolean;
}

/** Paths inside a device folder. */
export function devicePaths(folder: string) {
  return {
    device: `${folder}/device.json`,
    key: `${folder}/key.pem`,
    root: `${folder}/root.json`,
    enrolled: `${folder}/enrolled`,
    tuf: `${folder}/tuf`,
    active: `${folder}/active`,
    counter: `${folder}/counter`,
    reports: `${folder}/reports`,
    agents: `${folder}/agents`,
    slot: (slot: SlotName) => `${folder}/slots/${slot}`,
  };
}

/** The slot that is not active. */
export function otherSlot(slot: SlotName): SlotName {
  return slot === 'a' ? 'b' : 'a';
}

/** @throws DEVICE_NOT_INITIALISED, DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function readIdentity(files: DeviceFiles, folder: string): Promise<DeviceIdentity> {
  const stored = await readRecord(files, devicePaths(folder).device, parseIdentity);
  if (stored === undefined) {
    throw DEVICE.reject(
      'DEVICE_NOT_INITIALISED',
      `expected a device in ${quote(folder)}, found no device.json`,
    );
  }
  return stored.value;
}

/** @throws DEVICE_STATE_UNWRITABLE */
export async function writeIdentity(
  files: DeviceFiles,
  folder: string,
  identity: DeviceIdentity,
): Promise<void> {
  await writeRecord(files, devicePaths(folder).device, { ...identity });
}

/** The factory root, key or another file that must be there. @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function readFactoryFile(files: DeviceFiles, path: string): Promise<Uint8Array> {
  const bytes = await files.read(path);
  if (bytes === undefined) throw DEVICE.reject('DEVICE_STATE_DAMAGED', `expected ${quote(path)}, found none`);
  return bytes;
}

/**
 * The active slot. A copy is believed only if the slot holds what the copy says: it may be of a switch that never came.
 * @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE, SLOT_UNWRITABLE
 */
export async function readActive(files: DeviceFiles, folder: string): Promise<ActiveSlot> {
  const paths = devicePaths(folder);
  const stored = await readRecord(files, paths.active, parseActive);
  if (stored === undefined)
    throw DEVICE.reject('DEVICE_STATE_DAMAGED', `expected ${quote(paths.active)}, found none`);
  const { value: active, fromCopy } = stored;
  if (!fromCopy) return active;
  const held = await digestSlot(files, paths.slot(active.slot));
  if (active.image !== undefined && held.sha256 !== active.image.sha256) {
    throw DEVICE.reject(
      'DEVICE_STATE_DAMAGED',
      `expected slot ${active.slot} to hold sha256:${active.image.sha256} as the copy of the active record says, ` +
        `got sha256:${held.sha256}`,
    );
  }
  return active;
}

/** The switch: everything about the active slot in one rename. @throws DEVICE_STATE_UNWRITABLE */
export async function writeActive(files: DeviceFiles, folder: string, active: ActiveSlot): Promise<void> {
  const { image, seen, ...rest } = active;
  const record: JsonObject = {
    ...rest,
    ...(image === undefined ? {} : { image: { ...image } }),
    ...(seen === undefined ? {} : { seen: { log: { ...seen.log }, timeMs: seen.timeMs } }),
  };
  await writeRecord(files, devicePaths(folder).active, record);
}

/** Removes what writes left behind that were cut off, as well as it can be done. Nobody else may be writing. */
export async function sweepFolder(files: DeviceFiles, folder: string): Promise<void> {
  const { tuf, reports } = devicePaths(folder);
  for (const place of [folder, tuf, reports]) {
    try {
      for (const name of await files.list(place)) {
        if (/\.[0-9a-f]{12}\.new$/.test(name)) await files.remove(`${place}/${name}`);
      }
    } catch (failure) {
      if (!(failure instanceof Unavailable)) throw failure;
    }
  }
}

/** True once the registry knows this device's key. @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function isEnrolled(files: DeviceFiles, folder: string): Promise<boolean> {
  const parse = (node: DocumentNode) => node.field('registryUrl').string();
  return (await readRecord(files, devicePaths(folder).enrolled, parse)) !== undefined;
}

/** The number of the last report. @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function readCounter(files: DeviceFiles, folder: string): Promise<number> {
  const parse = (node: DocumentNode) => node.field('counter').integer();
  return (await readRecord(files, devicePaths(folder).counter, parse))?.value ?? 0;
}

/** Takes the next number; it is on the medium before it is returned. @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE */
export async function nextCounter(files: DeviceFiles, folder: string): Promise<number> {
  const counter = (await readCounter(files, folder)) + 1;
  await writeRecord(files, devicePaths(folder).counter, { counter });
  return counter;
}

function parseIdentity(node: DocumentNode): DeviceIdentity {
  node.only('id', 'product', 'hardwareId', 'registryUrl', 'versionFloor');
  const product = node.field('product');
  if (!isProductName(product.string())) throw product.wrong('expected a product name');
  return {
    id: node.field('id').string(),
    product: product.string(),
    hardwareId: node.field('hardwareId').string(),
    registryUrl: node.field('registryUrl').string(),
    versionFloor: version(node.field('versionFloor')),
  };
}

function parseActive(node: DocumentNode): ActiveSlot {
  node.only('slot', 'image', 'versionFloor', 'previousSha256', 'reported', 'seen');
  const image = node.optional('image')?.only('sha256', 'version', 'sizeBytes');
  const previous = node.optional('previousSha256');
  const seen = node.optional('seen');
  return {
    slot: node.field('slot').word('a', 'b'),
    ...(image === undefined
      ? {}
      : {
          image: {
            sha256: image.field('sha256').sha256(),
            version: version(image.field('version')),
            sizeBytes: image.field('sizeBytes').integer(1),
          },
        }),
    versionFloor: version(node.field('versionFloor')),
    ...(previous === undefined ? {} : { previousSha256: previous.sha256() }),
    reported: node.field('reported').boolean(),
    ...(seen === undefined ? {} : { seen: parseSeen(seen) }),
  };
}

function parseSeen(node: DocumentNode): Seen {
  const log = node.only('log', 'timeMs').field('log').only('origin', 'size', 'rootHash');
  return {
    log: {
      origin: log.field('origin').string(),
      size: log.field('size').integer(),
      rootHash: log.field('rootHash').sha256(),
    },
    timeMs: node.field('timeMs').integer(),
  };
}

function version(node: DocumentNode): string {
  if (!isVersion(node.string())) throw node.wrong('expected a version such as 8.1.0');
  return node.string();
}
