// SPDX-License-Identifier: Apache-2.0
// Keys that come and go in the next root [TUF-1.0.34 §4.3, docs/spec/tuf-repository.md §Rotation].

import type { KeyObject } from 'node:crypto';
import type { Crypto } from '../core/crypto.ts';
import type { JsonObject } from '../core/encoding/strict-json.ts';
import { quote, Rejection } from '../core/faults.ts';
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
  readonly addRoot?: readonly KeyObject[] | undefined;
  /** Key ids. */
  readonly removeRoot?: readonly string[] | undefined;
  readonly rootThreshold?: number | undefined;
  /** All that there are to be, instead of those that there are. */
  readonly targets?: readonly KeyObject[] | undefined;
  /** More of them. */
  readonly addTargets?: readonly KeyObject[] | undefined;
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
  const idsOf = (keys: readonly KeyObject[]): readonly string[] =>
    keys.map((key) => {
      const { keyId, json } = roleKey(key);
      known.set(keyId, json as unknown as JsonObject);
      return keyId;
    });
  const before = current.signed.roles;
  const given: Partial<Record<TopLevelRole, Partial<{ keyids: readonly string[]; threshold: number }>>> = {
    root: {
      keyids: [...without(before.root.keyIds, change.removeRoot), ...idsOf(change.addRoot ?? [])],
      threshold: change.rootThreshold ?? before.root.threshold,
    },
    targets: {
      keyids: [
        ...(change.targets === undefined ? before.targets.keyIds : idsOf(change.targets)),
        ...idsOf(change.addTargets ?? []),
      ],
      threshold: change.targetsThreshold ?? before.targets.threshold,
    },
    snapshot: change.snapshot === undefined ? {} : { keyids: idsOf([change.snapshot]) },
    timestamp: change.timestamp === undefined ? {} : { keyids: idsOf([change.timestamp]) },
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

function without(before: readonly string[], removed: readonly string[] = []): readonly string[] {
  const unknown = removed.find((id) => !before.includes(id));
  if (unknown !== undefined) {
    throw RELEASE.reject(
      'OFFLINE_KEY_UNKNOWN',
      `expected the id of a root key (${before.join(', ')}), got ${quote(unknown)}`,
    );
  }
  return before.filter((id) => !removed.includes(id));
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
