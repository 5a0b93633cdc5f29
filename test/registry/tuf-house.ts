// SPDX-License-Identifier: Apache-2.0
// A TUF repository in a fresh folder, with the offline keys at hand, so that a test can sign whatever an attacker would.

import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalJsonBytes } from '../../core/encoding/canonical-json.ts';
import type { Json } from '../../core/encoding/strict-json.ts';
import { utf8 } from '../../core/encoding/utf8.ts';
import { canonicalMetadata } from '../../core/tuf/canonical.ts';
import { Blobs } from '../../registry/store/blobs.ts';
import { type DurableFiles, diskFiles } from '../../registry/store/durable-files.ts';
import { createTufOnlineKeys, type OnlineKeys, openTufOnlineKeys } from '../../registry/tuf/online-keys.ts';
import { type ChangeObserver, createTufRepository, TufRepository } from '../../registry/tuf/repository.ts';
import { roleKey } from '../../release/role-metadata.ts';

export const NOW = Date.UTC(2026, 10, 22, 12);
const YEAR_MS = 365 * 86_400_000;

export const newKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;
export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');
export const quiet: ChangeObserver = { examine: async () => undefined, published: async () => undefined };

/** Signs any JSON as TUF metadata, sound or not. */
export function signRole(signed: Record<string, unknown>, keys: readonly KeyObject[]): Uint8Array {
  // What is no metadata has no such form; it must be refused before anybody looks at signatures.
  const data = canonicalMetadata(signed as Json) ?? canonicalJsonBytes(signed as Json);
  const signatures = keys.map((key) => ({
    keyid: roleKey(key).keyId,
    sig: sign(null, data, key).toString('hex'),
  }));
  return utf8(JSON.stringify({ signed, signatures }));
}

export const expiry = (ms = NOW + YEAR_MS): string => new Date(ms).toISOString().replace('.000Z', 'Z');

/** A target's entry. */
export const entryOf = (bytes: Uint8Array) => ({ length: bytes.length, hashes: { sha256: sha256(bytes) } });

/** The signed part of a targets role. */
export function targetsRole(
  version: number,
  files: Record<string, Uint8Array>,
  more: Record<string, unknown> = {},
) {
  const targets = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, entryOf(bytes)]));
  return { _type: 'targets', spec_version: '1.0.31', version, expires: expiry(), targets, ...more };
}

/** Delegations to products' roles, one key each unless told. */
export function delegationsTo(
  products: Record<string, readonly KeyObject[]>,
  change: Record<string, unknown> = {},
) {
  const keys = Object.values(products).flat().map(roleKey);
  return {
    keys: Object.fromEntries(keys.map((key) => [key.keyId, key.json])),
    roles: Object.entries(products).map(([product, signers]) => ({
      name: `releases-${product}`,
      keyids: signers.map((key) => roleKey(key).keyId),
      threshold: signers.length,
      terminating: true,
      paths: [`images/${product}/*`, `packs/${product}/*`],
      ...change,
    })),
  };
}

export interface House {
  readonly folder: string;
  readonly rootKeys: readonly KeyObject[];
  readonly targetsKey: KeyObject;
  readonly releasesKey: KeyObject;
  readonly online: OnlineKeys;
  readonly blobs: Blobs;
  readonly trustedRoot: Uint8Array;
  /** The signed part of root with this version; `change` replaces members. */
  root(version: number, change?: Record<string, unknown>): Record<string, unknown>;
  /** Top-level targets with the product `optiboot` delegated. */
  targets(version: number, files?: Record<string, Uint8Array>, more?: Record<string, unknown>): Uint8Array;
  open(now?: () => number, files?: DurableFiles): Promise<TufRepository>;
  remove(): Promise<void>;
}

/** Makes root 1, targets 1 (with the delegation), snapshot 1 and timestamp 1. */
export async function buildHouse(): Promise<House> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-tuf-'));
  await createTufOnlineKeys({ folder: join(folder, 'keys') });
  const keysFolder = join(folder, 'keys');
  const held = await openTufOnlineKeys(keysFolder);
  const online = { snapshot: held.snapshot[0], timestamp: held.timestamp[0] } as OnlineKeys;
  const blobs = await Blobs.open(join(folder, 'blobs'));
  const rootKeys = [newKey(), newKey(), newKey()];
  const [targetsKey, releasesKey] = [newKey(), newKey()];
  const trustedRoot = utf8('{"a trusted root":"that nobody reads here"}\n');

  const root = (version: number, change: Record<string, unknown> = {}) => {
    const named = [...rootKeys, targetsKey, online.snapshot.key, online.timestamp.key].map(roleKey);
    const role = (keys: readonly KeyObject[], threshold: number) => ({
      keyids: keys.map((key) => roleKey(key).keyId),
      threshold,
    });
    return {
      _type: 'root',
      spec_version: '1.0.31',
      version,
      expires: expiry(),
      consistent_snapshot: true,
      keys: Object.fromEntries(named.map((key) => [key.keyId, key.json])),
      roles: {
        root: role(rootKeys, 2),
        targets: role([targetsKey], 1),
        snapshot: role([online.snapshot.key], 1),
        timestamp: role([online.timestamp.key], 1),
      },
      ...change,
    };
  };
  const targets = (
    version: number,
    files: Record<string, Uint8Array> = {},
    more: Record<string, unknown> = {},
  ) => {
    const named = { 'trusted_root.json': trustedRoot, ...files };
    const delegations = delegationsTo({ optiboot: [releasesKey] });
    return signRole(targetsRole(version, named, { delegations, ...more }), [targetsKey]);
  };
  const open = (now = () => NOW, files = diskFiles) =>
    TufRepository.open({ folder: join(folder, 'tuf'), keysFolder, blobs, clock: now, files });
  await createTufRepository({
    folder: join(folder, 'tuf'),
    keysFolder,
    blobs,
    clock: () => NOW,
    root: signRole(root(1), rootKeys.slice(0, 2)),
    targets: targets(1),
    targetFiles: [{ name: 'trusted_root.json', bytes: trustedRoot }],
  });
  const remove = () => rm(folder, { recursive: true });
  return {
    folder,
    rootKeys,
    targetsKey,
    releasesKey,
    online,
    blobs,
    trustedRoot,
    root,
    targets,
    open,
    remove,
  };
}
