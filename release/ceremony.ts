// SPDX-License-Identifier: Apache-2.0
// The key ceremony [TUF-1.0.34 §4.3, docs/spec/tuf-repository.md §Ceremony]: root and targets keys are made in the offline
// folder, or brought by their officers, sign version 1 of their roles, and never leave their place.

import { createPublicKey, type KeyObject } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Json } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { RELEASE } from './faults.ts';
import { algorithmOf, generateKey, publicKeyPath, writeKeyPair } from './key-file.ts';
import {
  expiryAfter,
  formatMetadata,
  type RoleKey,
  roleKey,
  signaturesOver,
  TUF_SPEC_VERSION,
  targetEntry,
} from './role-metadata.ts';
import { localKey, type SigningKey } from './signing-key.ts';

/** A root key that was made elsewhere. */
export interface OfficerKey {
  readonly publicKey: KeyObject;
  /** Undefined for an officer who is not here. */
  readonly signer: SigningKey | undefined;
}

/** What a ceremony needs. Times are the caller's. */
export interface Ceremony {
  /** Where the keys are written: `root-1.pem` …, `targets-1.pem` …, and beside each its public half, `root-1.pub` …. */
  readonly offlineFolder: string;
  readonly org: string;
  /** Number of root keys that are made, or the keys that there are. */
  readonly rootKeys: number | readonly OfficerKey[];
  /** Signatures asked of them. */
  readonly rootThreshold: number;
  /** Number of targets keys, and signatures asked of them. */
  readonly targetsKeys: number;
  readonly targetsThreshold: number;
  /** Encrypts the private keys. */
  readonly passphrase?: string | undefined;
  /** SPKI PEM of the Ed25519 keys that the server keeps. */
  readonly onlineKeys: { readonly snapshot: string; readonly timestamp: string };
  /** Trust material: `trusted_root.json`, `signing_config.v0.2.json`, `tlog-policy`. */
  readonly targetFiles: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  readonly now: Date;
}

/** Lifetime of root and of top-level targets: their officers come back within a year. */
export const OFFLINE_LIFETIME_DAYS = 365;

/**
 * Holds the ceremony: writes the keys that it makes (private halves with mode 0600) and returns the signed bytes of `1.root.json` and
 * `1.targets.json`. If it fails, the keys that it wrote are removed.
 * @throws CEREMONY_THRESHOLD_INVALID, CEREMONY_SIGNERS_MISSING, CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE,
 * CEREMONY_KEY_UNSUITABLE, and what officers' keys throw
 */
export async function holdCeremony(ceremony: Ceremony): Promise<{ root: Uint8Array; targets: Uint8Array }> {
  const { rootKeys, rootThreshold, targetsKeys, targetsThreshold } = ceremony;
  const rootCount =
    typeof rootKeys === 'number'
      ? rootKeys
      : new Set(rootKeys.map(({ publicKey }) => roleKey(publicKey).keyId)).size;
  checkThreshold('root', rootCount, rootThreshold);
  checkThreshold('targets', targetsKeys, targetsThreshold);
  const snapshot = onlineKey('snapshot', ceremony.onlineKeys.snapshot);
  const timestamp = onlineKey('timestamp', ceremony.onlineKeys.timestamp);
  const roots = typeof rootKeys === 'number' ? newKeys('root', rootKeys) : [];
  const officers = typeof rootKeys === 'number' ? roots.map(officerOf) : rootKeys;
  const targets = newKeys('targets', targetsKeys);
  const role = (keys: readonly RoleKey[], threshold: number) => ({
    keys: [...new Map(keys.map((key) => [key.keyId, key])).values()],
    threshold,
  });
  const roles = {
    root: role(
      officers.map(({ publicKey }) => roleKey(publicKey)),
      rootThreshold,
    ),
    targets: role(
      targets.map(({ key }) => roleKey(key)),
      targetsThreshold,
    ),
    snapshot: role([snapshot], 1),
    timestamp: role([timestamp], 1),
  };
  const signed = {
    root: await sign(rootOf(ceremony, roles), signersOf(officers, rootThreshold)),
    targets: await sign(
      targetsOf(ceremony),
      targets.map(({ key }) => localKey(key)),
    ),
  };
  await writeAll(ceremony, [...roots, ...targets]);
  return signed;
}

/** @throws CEREMONY_THRESHOLD_INVALID */
export function checkThreshold(role: string, keys: number, threshold: number): void {
  if (Number.isInteger(keys) && Number.isInteger(threshold) && threshold >= 1 && threshold <= keys) return;
  throw RELEASE.reject(
    'CEREMONY_THRESHOLD_INVALID',
    `expected a threshold from 1 to the number of different ${role} keys, got threshold ${threshold} with ${keys} ${keys === 1 ? 'key' : 'keys'}`,
  );
}

interface NamedKey {
  readonly name: string;
  readonly key: KeyObject;
}

function newKeys(role: string, count: number): readonly NamedKey[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `${role}-${i + 1}.pem`,
    key: generateKey('ed25519'),
  }));
}

function officerOf({ key }: NamedKey): OfficerKey {
  return { publicKey: createPublicKey(key), signer: localKey(key) };
}

function signersOf(officers: readonly OfficerKey[], threshold: number): readonly SigningKey[] {
  const signers = new Map(
    officers.flatMap(({ publicKey, signer }) =>
      signer === undefined ? [] : [[roleKey(publicKey).keyId, signer] as const],
    ),
  );
  if (signers.size >= threshold) return [...signers.values()];
  throw RELEASE.reject(
    'CEREMONY_SIGNERS_MISSING',
    `expected private keys of ${threshold} root officers, got ${signers.size}`,
  );
}

async function writeAll({ offlineFolder, passphrase }: Ceremony, files: readonly NamedKey[]): Promise<void> {
  const written: string[] = [];
  try {
    for (const { name, key } of files) {
      const path = join(offlineFolder, name);
      await writeKeyPair(path, key, passphrase);
      written.push(path, publicKeyPath(path));
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

type Roles = Readonly<Record<string, { readonly keys: readonly RoleKey[]; readonly threshold: number }>>;

function rootOf(ceremony: Ceremony, roles: Roles): Json {
  const all = Object.values(roles).flatMap(({ keys }) => keys);
  const root = {
    _type: 'root',
    spec_version: TUF_SPEC_VERSION,
    version: 1,
    expires: expiryAfter(ceremony.now, OFFLINE_LIFETIME_DAYS),
    consistent_snapshot: true,
    keys: Object.fromEntries(all.map(({ keyId, json }) => [keyId, json])),
    roles: Object.fromEntries(
      Object.entries(roles).map(([name, { keys, threshold }]) => [
        name,
        { keyids: keys.map(({ keyId }) => keyId), threshold },
      ]),
    ),
    'x-waybill-org': ceremony.org,
  };
  return root as unknown as Json;
}

function targetsOf({ now, targetFiles }: Ceremony): Json {
  return {
    _type: 'targets',
    spec_version: TUF_SPEC_VERSION,
    version: 1,
    expires: expiryAfter(now, OFFLINE_LIFETIME_DAYS),
    targets: Object.fromEntries(targetFiles.map(({ name, bytes }) => [name, targetEntry(bytes)])),
  };
}

async function sign(signed: Json, keys: readonly SigningKey[]): Promise<Uint8Array> {
  return formatMetadata(signed, await signaturesOver(signed, keys));
}
