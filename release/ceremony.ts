// SPDX-License-Identifier: Apache-2.0
// The key ceremony [TUF-1.0.34 §4.3, docs/spec/tuf-repository.md §Ceremony]: root and targets keys are made in the offline
// folder, sign version 1 of their roles, and never leave it.

import { createPublicKey, type KeyObject } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Metadata, Root, TargetFile, Targets } from '@tufjs/models';
import { quote } from '../core/faults.ts';
import { RELEASE } from './faults.ts';
import { algorithmOf, generateKey, writePrivateKey } from './key-file.ts';
import {
  expiryAfter,
  type RoleKey,
  roleKey,
  signMetadata,
  TUF_SPEC_VERSION,
  targetEntry,
} from './role-metadata.ts';

/** What a ceremony needs. Times are the caller's. */
export interface Ceremony {
  /** Where the private keys are written: `root-1.pem` …, `targets-1.pem`. */
  readonly offlineFolder: string;
  readonly org: string;
  /** Number of root keys. */
  readonly rootKeys: number;
  /** Signatures asked of them. */
  readonly rootThreshold: number;
  /** SPKI PEM of the Ed25519 keys that the server keeps. */
  readonly onlineKeys: { readonly snapshot: string; readonly timestamp: string };
  /** Trust material: `trusted_root.json`, `signing_config.v0.2.json`, `tlog-policy`. */
  readonly targetFiles: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  readonly now: Date;
}

const LIFETIME_DAYS = 365;

/**
 * Holds the ceremony: writes the private keys (mode 0600) and returns the signed bytes of `1.root.json` and `1.targets.json`.
 * If it fails, the keys that it wrote are removed.
 * @throws CEREMONY_THRESHOLD_INVALID, CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE, CEREMONY_KEY_UNSUITABLE
 */
export async function holdCeremony(ceremony: Ceremony): Promise<{ root: Uint8Array; targets: Uint8Array }> {
  const { rootKeys, rootThreshold } = ceremony;
  if (
    !Number.isInteger(rootKeys) ||
    !Number.isInteger(rootThreshold) ||
    rootThreshold < 1 ||
    rootThreshold > rootKeys
  ) {
    throw RELEASE.reject(
      'CEREMONY_THRESHOLD_INVALID',
      `expected a threshold from 1 to the number of root keys, got ${rootThreshold} of ${rootKeys}`,
    );
  }
  const snapshot = onlineKey('snapshot', ceremony.onlineKeys.snapshot);
  const timestamp = onlineKey('timestamp', ceremony.onlineKeys.timestamp);
  const roots = Array.from({ length: rootKeys }, () => generateKey('ed25519'));
  const targets = generateKey('ed25519');
  const signed = {
    root: signRoot(ceremony, roots, roleKey(targets), snapshot, timestamp),
    targets: signTargets(ceremony, targets),
  };
  const files = roots.map((key, i) => ({ name: `root-${i + 1}.pem`, key }));
  await writeAll(ceremony.offlineFolder, [...files, { name: 'targets-1.pem', key: targets }]);
  return signed;
}

async function writeAll(folder: string, files: readonly { name: string; key: KeyObject }[]): Promise<void> {
  const written: string[] = [];
  try {
    for (const { name, key } of files) {
      await writePrivateKey(join(folder, name), key);
      written.push(join(folder, name));
    }
  } catch (failure) {
    await Promise.all(written.map((path) => rm(path, { force: true })));
    throw failure;
  }
}

function onlineKey(role: string, pem: string): RoleKey {
  let key: KeyObject | undefined;
  try {
    key = createPublicKey(pem);
  } catch {
    key = undefined;
  }
  if (key === undefined || algorithmOf(key) !== 'ed25519') {
    throw RELEASE.reject('CEREMONY_KEY_UNSUITABLE', `expected an Ed25519 public key for role ${quote(role)}`);
  }
  return roleKey(key);
}

function signRoot(
  ceremony: Ceremony,
  roots: readonly KeyObject[],
  targets: RoleKey,
  snapshot: RoleKey,
  timestamp: RoleKey,
): Uint8Array {
  const rootKeys = roots.map(roleKey);
  const role = (keys: readonly RoleKey[], threshold: number) => ({
    keyids: keys.map((k) => k.keyId),
    threshold,
  });
  const root = Root.fromJSON({
    _type: 'root',
    spec_version: TUF_SPEC_VERSION,
    version: 1,
    expires: expiryAfter(ceremony.now, LIFETIME_DAYS),
    consistent_snapshot: true,
    keys: Object.fromEntries([...rootKeys, targets, snapshot, timestamp].map((k) => [k.keyId, k.json])),
    roles: {
      root: role(rootKeys, ceremony.rootThreshold),
      targets: role([targets], 1),
      snapshot: role([snapshot], 1),
      timestamp: role([timestamp], 1),
    },
    'x-waybill-org': ceremony.org,
  });
  return signMetadata(new Metadata(root), roots);
}

function signTargets(ceremony: Ceremony, key: KeyObject): Uint8Array {
  const targets = new Targets({
    specVersion: TUF_SPEC_VERSION,
    version: 1,
    expires: expiryAfter(ceremony.now, LIFETIME_DAYS),
  });
  for (const { name, bytes } of ceremony.targetFiles) {
    targets.addTarget(new TargetFile({ path: name, ...targetEntry(bytes) }));
  }
  return signMetadata(new Metadata(targets), [key]);
}
