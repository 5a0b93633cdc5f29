// SPDX-License-Identifier: Apache-2.0
// The update: links from the repository's metadata to the switch, in one order [docs/spec/device.md §Order of an update].
// The first link that does not hold ends it; nothing but the inactive slot is touched before the switch.

import { Rejection } from '../core/faults.ts';
import { DEVICE } from './faults.ts';
import type { DeviceHost } from './host.ts';
import { queueInstallReport, queueReport, sendReports } from './reports.ts';
import { type Link, Road } from './road.ts';
import {
  type ActiveSlot,
  type DeviceIdentity,
  devicePaths,
  isEnrolled,
  readActive,
  readFactoryFile,
  readIdentity,
  sweepFolder,
} from './state.ts';
import * as steps from './update-steps.ts';

export interface UpdateResult {
  readonly outcome: 'installed' | 'current' | 'withdrawn' | 'refused';
  readonly identity: DeviceIdentity;
  /** What is active now. */
  readonly active: ActiveSlot;
  /** Every link that was tried, in order. */
  readonly links: readonly Link[];
  /** Why, for `refused` and `withdrawn`. */
  readonly refusal?: Rejection;
}

/** Who watches an update, and how to stop it. */
export interface UpdateOptions {
  /** Called when a link is begun. */
  readonly begun?: (name: string) => void;
  /** Called for each line of the result as it is known. */
  readonly known?: (link: Link) => void;
  /** Stops the update at the next link or in the middle of the download; after the switch it has no effect. */
  readonly cancel?: AbortSignal;
}

/**
 * Brings a device up to date, or says at which link and why not. What could not be obtained is thrown, and leaves no verdict.
 * @throws DEVICE_NOT_INITIALISED, DEVICE_NOT_ENROLLED, DEVICE_BUSY, DEVICE_STATE_DAMAGED, Unavailable of any room
 */
export async function updateDevice(
  folder: string,
  host: DeviceHost,
  options: UpdateOptions = {},
): Promise<UpdateResult> {
  const identity = await readIdentity(host.files, folder);
  if (!(await isEnrolled(host.files, folder))) {
    throw DEVICE.reject(
      'DEVICE_NOT_ENROLLED',
      `expected an enrolled device, ${identity.id} was not registered yet`,
    );
  }
  const unlock = await host.files.lock(devicePaths(folder).agents);
  if (unlock === undefined)
    throw DEVICE.unavailable('DEVICE_BUSY', 'another agent is at work in this folder');
  try {
    await sweepFolder(host.files, folder);
    const root = await readFactoryFile(host.files, devicePaths(folder).root);
    const before = await readActive(host.files, folder);
    const road = new Road(options);
    await deliverLeftovers(road, folder, host, identity, before);
    return await attempt(road, {
      folder,
      host,
      identity,
      active: before,
      root,
      nowMs: host.nowMs(),
      cancel: road.cancel,
    });
  } finally {
    await unlock();
  }
}

/** Runs the road and turns its end into an outcome and a report. */
async function attempt(road: Road, device: steps.Device): Promise<UpdateResult> {
  const { folder, host, identity } = device;
  const result = { identity, links: road.links };
  try {
    const active = await travel(road, device);
    if (active === undefined) return { ...result, outcome: 'current', active: device.active };
    await road.note('report', () => reportInstall(device, active));
    return { ...result, outcome: 'installed', active };
  } catch (failure) {
    if (!(failure instanceof Rejection)) throw failure;
    const outcome = failure.code === 'UPDATE_INSTALLED_WITHDRAWN' ? 'withdrawn' : 'refused';
    await road.note('report', async () => {
      await queueReport(host, folder, identity, device.active, { outcome, code: failure.code });
      return sendReports(host, folder, identity);
    });
    return { ...result, outcome, active: device.active, refusal: failure };
  }
}

/** The road itself. Returns what is active after the switch, undefined if there was nothing to do. */
async function travel(road: Road, device: steps.Device): Promise<ActiveSlot | undefined> {
  const tuf = await road.link('metadata', () => steps.refreshMetadata(device));
  const trust = await road.link('trust', () => steps.readTrust(device, tuf));
  const index = await road.link('index', () => steps.readIndex(device, tuf));
  const choice = road.check('release', () => steps.choose(device, index));
  if (choice.kind === 'current') {
    await road.link('slot', () => steps.checkActiveSlot(device));
    return undefined;
  }
  const { release } = choice;
  const goods = await road.link('pack', () => steps.fetchPack(device, tuf, release));
  const verified = steps.verifyGoods(device, goods, trust, release, (link, check) => road.check(link, check));
  road.check('log', () => steps.checkLog(device, verified));
  await road.link('sbom', () => steps.checkSbom(device, tuf, verified));
  await steps.orEmptySlot(device, async () => {
    await road.link('download', () => steps.fillSlot(device, goods, verified.pack));
    await road.link('slot', () => steps.readSlotBack(device, verified.pack));
    road.check('version', () => steps.checkVersion(device, release));
  });
  return await road.link('switch', () => steps.switchSlot(device, verified));
}

async function reportInstall({ folder, host, identity }: steps.Device, active: ActiveSlot) {
  await queueInstallReport(host, folder, identity, active);
  return sendReports(host, folder, identity);
}

/** Reports that an earlier run could not make or send. */
async function deliverLeftovers(
  road: Road,
  folder: string,
  host: DeviceHost,
  identity: DeviceIdentity,
  active: ActiveSlot,
): Promise<void> {
  await road.note('report', async () => {
    await queueInstallReport(host, folder, identity, active);
    return sendReports(host, folder, identity);
  });
}
