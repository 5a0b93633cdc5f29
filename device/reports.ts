// SPDX-License-Identifier: Apache-2.0
// Reports of a device: numbered, signed, queued on the medium, sent in order [docs/spec/install-report.md].

import { base64Encode } from '../core/encoding/base64.ts';
import { canonicalJsonBytes } from '../core/encoding/canonical-json.ts';
import { Unavailable } from '../core/faults.ts';
import { buildInstallReport, type InstallReport } from '../core/intoto/install-report.ts';
import { formatStatement, PAYLOAD_TYPE } from '../core/intoto/statement.ts';
import { preAuthEncoding } from '../core/sigstore/bundle.ts';
import { type DeviceKey, readDeviceKey } from './device-key.ts';
import type { DeviceFiles, DeviceHost } from './host.ts';
import { callRegistry } from './registry-call.ts';
import { type ActiveSlot, type DeviceIdentity, devicePaths, nextCounter, writeActive } from './state.ts';

/** Reports kept for a registry that cannot be reached; older ones give way. */
export const QUEUE_MAX = 64;

/** The digest of a slot that never held an image: SHA-256 of zero bytes. */
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** What a report says besides who, when and what is active. */
export type ReportedOutcome =
  | { readonly outcome: 'installed' }
  | { readonly outcome: 'refused' | 'withdrawn'; readonly code: string };

/** What became of the queue. */
export interface Delivery {
  /** Counters that the registry has. */
  readonly sent: readonly number[];
  /** Counters that wait for the next run. */
  readonly queued: readonly number[];
  /** Why they wait. */
  readonly reason?: string;
}

/**
 * Signs a report about the active slot and puts it into the queue; its number is used up first. Returns the number.
 * @throws DEVICE_STATE_DAMAGED, DEVICE_STATE_UNWRITABLE
 */
export async function queueReport(
  host: DeviceHost,
  folder: string,
  identity: DeviceIdentity,
  active: ActiveSlot,
  said: ReportedOutcome,
): Promise<number> {
  const { files } = host;
  const key = await readDeviceKey(files, folder);
  const counter = await nextCounter(files, folder);
  const report: InstallReport = {
    deviceId: identity.id,
    product: identity.product,
    counter,
    imageSha256: active.image?.sha256 ?? EMPTY_SHA256,
    version: active.image?.version ?? '0',
    ...(said.outcome === 'installed' && active.previousSha256 !== undefined
      ? { previousSha256: active.previousSha256 }
      : {}),
    ...said,
    reportedAtMs: host.nowMs(),
  };
  await files.write(reportPath(folder, counter), signReport(report, key));
  for (const old of (await queuedCounters(files, folder)).slice(0, -QUEUE_MAX)) {
    await files.remove(reportPath(folder, old));
  }
  return counter;
}

/** Makes up the report of an install whose agent did not live to make it. @throws as `queueReport` */
export async function queueInstallReport(
  host: DeviceHost,
  folder: string,
  identity: DeviceIdentity,
  active: ActiveSlot,
): Promise<ActiveSlot> {
  if (active.reported) return active;
  await queueReport(host, folder, identity, active, { outcome: 'installed' });
  const reported = { ...active, reported: true };
  await writeActive(host.files, folder, reported);
  return reported;
}

/** Sends what is queued, oldest first; one that the registry refuses does not hold up those after it. @throws DEVICE_STATE_UNWRITABLE */
export async function sendReports(
  host: DeviceHost,
  folder: string,
  identity: DeviceIdentity,
): Promise<Delivery> {
  const waiting = await queuedCounters(host.files, folder);
  const sent: number[] = [];
  let obstacle: Obstacle | undefined;
  for (const counter of waiting) {
    const met = await sendReport(host, folder, identity, counter);
    if (met === undefined) sent.push(counter);
    else obstacle = met;
    if (met?.unreachable === true) break;
  }
  const queued = waiting.filter((counter) => !sent.includes(counter));
  return { sent, queued, ...(obstacle === undefined ? {} : { reason: obstacle.reason }) };
}

/** Why a report waits. */
interface Obstacle {
  readonly reason: string;
  /** Those after it would fare no better. */
  readonly unreachable: boolean;
}

/** Undefined once the registry has the report. */
async function sendReport(
  host: DeviceHost,
  folder: string,
  identity: DeviceIdentity,
  counter: number,
): Promise<Obstacle | undefined> {
  const path = reportPath(folder, counter);
  const envelope = await host.files.read(path);
  if (envelope === undefined) return undefined;
  const url = `${identity.registryUrl}/api/v1/devices/${encodeURIComponent(identity.id)}/reports`;
  try {
    const answer = await callRegistry(host, url, envelope);
    // 409: it has this counter already, and the answer to the first sending was lost.
    if (!answer.ok && answer.status !== 409)
      return { reason: `the registry answered ${answer.said}`, unreachable: false };
  } catch (failure) {
    if (failure instanceof Unavailable && failure.code === 'DEVICE_REGISTRY_UNREACHABLE')
      return { reason: failure.message, unreachable: true };
    throw failure;
  }
  await host.files.remove(path);
  return undefined;
}

/** Counters of the queue, ascending. @throws DEVICE_STATE_UNWRITABLE */
export async function queuedCounters(files: DeviceFiles, folder: string): Promise<number[]> {
  const names = await files.list(devicePaths(folder).reports);
  return names
    .map((name) => /^([1-9][0-9]{0,15})\.json$/.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

function reportPath(folder: string, counter: number): string {
  return `${devicePaths(folder).reports}/${counter}.json`;
}

/** The DSSE envelope of a report [DSSE-v1.0.2 §Protocol]. */
function signReport(report: InstallReport, key: DeviceKey): Uint8Array {
  const reportedAt = new Date(report.reportedAtMs).toISOString();
  const payload = formatStatement(buildInstallReport(report, reportedAt));
  const signature = key.sign(preAuthEncoding(PAYLOAD_TYPE, payload));
  return canonicalJsonBytes({
    payloadType: PAYLOAD_TYPE,
    payload: base64Encode(payload),
    signatures: [{ keyid: key.keyId, sig: base64Encode(signature) }],
  });
}
