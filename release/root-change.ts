// SPDX-License-Identifier: Apache-2.0
// Keys that come and go in the next root [TUF-1.0.34 §4.3, docs/spec/tuf-repository.md §Rotation].

import type { KeyObject } from 'node:crypto';
import type { Crypto } from '../core/crypto.ts';
import type { JsonObject } from '../core/encoding/strict-json.ts';
import { Rejection } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { checkThreshold as checkSignatures, parseEnvelope } from '../core/tuf/envelope.ts';
import { type Root, type Targets, TOP_LEVEL, type TopLevelRole } from '../core/tuf/roles.ts';
import type { VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import { checkThreshold } from './ceremony.ts';
import { RELEASE } from './faults.ts';
import { nextVersion, type RoleFile } from './offline-role.ts';
import { roleKey } from './role-metadata.ts';

/** What changes; what is absent stays as it is. */
export interface RootChange {
  readonly addRoot?: readonly KeyObject[];
  /** Key ids. */
  readonly removeRoot?: readonly string[] | undefined;
  readonly rootThreshold?: number | undefined;
  /** All that there are to be, instead of those that there are. */
  readonly targets?: readonly KeyObject[] | undefined;
  readonly targetsThreshold?: number | undefined;
  readonly snapshot?: KeyObject | undefined;
  readonly timestamp?: KeyObject | undefined;
}

interface RoleEntry {
  readonly keyids: readonly string[];
  readonly threshold: number;
}

/**
 * The next root with keys and thresholds changed; keys that no role names any more are dropped.
 * @throws OFFLINE_KEY_UNKNOWN, OFFLINE_ROLE_UNCHANGED, CEREMONY_THRESHOLD_INVALID
 */
export function changeRoot(
  current: VerifiedRole<Root>,
  change: RootChange,
  now: Date,
  crypto: Crypto,
): RoleFile {
  const known = new Map(Object.entries(current.json.keys as JsonObject));
  const idsOf = (keys: readonly KeyObject[] | undefined): readonly string[] | undefined =>
    keys?.map((key) => {
      const { keyId, json } = roleKey(key);
      known.set(keyId, json as unknown as JsonObject);
      return keyId;
    });
  const before = current.signed.roles;
  const given: Partial<Record<TopLevelRole, Partial<{ keyids: readonly string[]; threshold: number }>>> = {
    root: {
      ...optional('keyids', rootIds(before.root.keyIds, idsOf(change.addRoot), change.removeRoot)),
      ...optional('threshold', change.rootThreshold),
    },
    targets: {
      ...optional('keyids', idsOf(change.targets)),
      ...optional('threshold', change.targetsThreshold),
    },
    snapshot: optional('keyids', idsOf(change.snapshot && [change.snapshot])),
    timestamp: optional('keyids', idsOf(change.timestamp && [change.timestamp])),
  };
  const roles: Record<string, RoleEntry> = {};
  for (const name of TOP_LEVEL) {
    const { keyIds, threshold } = before[name];
    const entry = { keyids: keyIds, threshold, ...given[name] };
    roles[name] = { ...entry, keyids: [...new Set(entry.keyids)] };
    checkThreshold(name, roles[name].keyids.length, roles[name].threshold);
  }
  if (TOP_LEVEL.every((name) => isSame(before[name], roles[name] as RoleEntry))) {
    throw RELEASE.reject('OFFLINE_ROLE_UNCHANGED', 'expected other keys or thresholds, got those of root');
  }
  const used = new Set(Object.values(roles).flatMap(({ keyids }) => keyids));
  const keys = Object.fromEntries([...known].filter(([id]) => used.has(id)));
  const replaced = { keys, roles: { ...(current.json.roles as JsonObject), ...roles } };
  return nextVersion(current, now, crypto, replaced as unknown as JsonObject);
}

function optional<K extends string, V>(name: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [key in K]?: V });
}

function rootIds(
  before: readonly string[],
  added: readonly string[] = [],
  removed: readonly string[] = [],
): readonly string[] {
  const unknown = removed.find((id) => !before.includes(id));
  if (unknown !== undefined) {
    throw RELEASE.reject(
      'OFFLINE_KEY_UNKNOWN',
      `expected the id of a root key (${before.join(', ')}), got ${JSON.stringify(unknown)}`,
    );
  }
  return [...before.filter((id) => !removed.includes(id)), ...added];
}

function isSame(before: { keyIds: readonly string[]; threshold: number }, after: RoleEntry): boolean {
  return (
    before.threshold === after.threshold &&
    [...before.keyIds].sort().join() === [...after.keyids].sort().join()
  );
}

/**
 * Clients take targets by the newest root alone, so the published one must be good under the next root already.
 * @throws OFFLINE_TARGETS_FIRST
 */
export function checkTargetsSurvive(next: RoleFile, targets: VerifiedRole<Targets>): void {
  if (next.root === undefined) return;
  const { roles, keys } = next.root;
  try {
    const envelope = parseEnvelope('targets', targets.bytes, LIMITS.tufTargetsSizeBytes);
    checkSignatures(envelope, roles.targets, keys);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw RELEASE.reject(
      'OFFLINE_TARGETS_FIRST',
      `targets version ${targets.signed.version} under root version ${next.version}: ${cause.message}`,
      { cause },
    );
  }
}
