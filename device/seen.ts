// SPDX-License-Identifier: Apache-2.0
// What a device has seen of the log and of time, and that neither goes back [docs/spec/device.md §Order of an update]. Pure.

import { hexEncode } from '../core/encoding/hex.ts';
import { quote } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import type { VerifiedPack } from '../core/verify/verify-pack.ts';
import { DEVICE } from './faults.ts';

/** The newest that verified evidence of an installed release said. */
export interface Seen {
  readonly log: {
    readonly origin: string;
    readonly size: number;
    /** Root hash, lower-case hex. */
    readonly rootHash: string;
  };
  /** Milliseconds since 1970: nothing was verified to be later. */
  readonly timeMs: number;
}

/** What a device has seen once it installs the release of a pack. */
export function seenIn({ bundles, checkpoint }: VerifiedPack, before: Seen | undefined): Seen {
  const { origin, size, rootHash, witnesses } = checkpoint;
  const cosigned = witnesses === 'none' ? [] : witnesses.map(({ timeMs }) => timeMs);
  const times = [...bundles.map(({ signedAtMs }) => signedAtMs), ...cosigned, before?.timeMs ?? 0];
  return {
    log: { origin, size: Number(size), rootHash: hexEncode(rootHash) },
    timeMs: Math.max(...times),
  };
}

/** The clock is not before what was verified earlier: it would take expired metadata for good. @throws UPDATE_CLOCK_BEHIND */
export function checkTimeFloor(nowMs: number, seen: Seen | undefined): void {
  // Not a number compares false with everything: asked this way round, it fails.
  if (seen === undefined || nowMs + LIMITS.clockSkewMs >= seen.timeMs) return;
  throw DEVICE.reject(
    'UPDATE_CLOCK_BEHIND',
    `expected a time after ${new Date(seen.timeMs).toISOString()}, when evidence of the installed release was signed, got ` +
      (Number.isFinite(nowMs) ? new Date(nowMs).toISOString() : 'none'),
  );
}

/** The log has not become smaller, nor another of the same size. @throws UPDATE_LOG_INCONSISTENT */
export function checkLogSeen({ checkpoint }: VerifiedPack, seen: Seen | undefined): readonly string[] {
  const { origin, size, rootHash } = checkpoint;
  // Another log of the policy has a tree of its own.
  if (seen === undefined || seen.log.origin !== origin) return [];
  const { log } = seen;
  if (size > log.size || (size === BigInt(log.size) && hexEncode(rootHash) === log.rootHash)) {
    return [`the tree of ${size} is not older than the tree of ${log.size} that was seen before`];
  }
  throw DEVICE.reject(
    'UPDATE_LOG_INCONSISTENT',
    `expected ${quote(origin)} to hold at least the tree of ${log.size} with the root ${log.rootHash} that was seen before, got the tree of ` +
      `${size} with the root ${hexEncode(rootHash)}`,
  );
}
