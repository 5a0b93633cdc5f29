// SPDX-License-Identifier: Apache-2.0
// What the TUF repository has published, as its folder says [TUF-1.0.34 §6.2 consistent snapshots]: timestamp.json names a
// snapshot, the snapshot names the roles. Files with higher versions than those are leftovers of an interrupted publication.

import { join } from 'node:path';
import {
  Metadata,
  MetadataKind,
  type Root,
  type Snapshot,
  type Targets,
  type Timestamp,
} from '@tufjs/models';
import { utf8Decode } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import type { DurableFiles } from '../store/durable-files.ts';
import { STORE } from '../store-faults.ts';
import type { OnlineKeys } from './online-keys.ts';
import { type RoleFile, roleFile, type SignedRole } from './online-roles.ts';
import { parseRoot, parseTargets, verifyRole } from './role-document.ts';

/** One published targets role. */
export interface PublishedRole {
  readonly file: RoleFile;
  readonly metadata: Metadata<Targets>;
}

/** A consistent view; replaced as a whole by each publication. */
export interface RepositoryState {
  readonly root: Metadata<Root>;
  readonly timestamp: SignedRole;
  readonly snapshot: SignedRole;
  /** `targets` and each `releases-<product>`. */
  readonly roles: ReadonlyMap<string, PublishedRole>;
}

/** File name of a role's version [TUF-1.0.34 §6.2]. */
export function roleFileName(version: number, role: string): string {
  return `${version}.${role}.json`;
}

/**
 * Reads the published state and checks that its parts fit each other and the online keys.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED
 */
export async function readState(
  folder: string,
  files: DurableFiles,
  keys: OnlineKeys,
): Promise<RepositoryState> {
  const must = async (name: string): Promise<Uint8Array> => {
    const bytes = await files.read(join(folder, name));
    if (bytes === undefined) {
      throw STORE.reject('REGISTRY_DATA_MISSING', `expected ${quote(join(folder, name))}, found none`);
    }
    return bytes;
  };
  const root = await readLastRoot(folder, files, must);
  const timestampBytes = await must('timestamp.json');
  const timestamp = authentic<Timestamp>(root, 'timestamp', () =>
    Metadata.fromJSON(MetadataKind.Timestamp, json(timestampBytes)),
  );
  const snapshotVersion = timestamp.signed.snapshotMeta.version;
  const snapshotBytes = await must(roleFileName(snapshotVersion, 'snapshot'));
  checkHash('snapshot', timestamp.signed.snapshotMeta.hashes, snapshotBytes);
  const snapshot = authentic<Snapshot>(root, 'snapshot', () =>
    Metadata.fromJSON(MetadataKind.Snapshot, json(snapshotBytes)),
  );
  const roles = new Map<string, PublishedRole>();
  for (const [name, meta] of Object.entries(snapshot.signed.meta)) {
    const role = name.replace(/\.json$/, '');
    const bytes = await must(roleFileName(meta.version, role));
    checkHash(role, meta.hashes, bytes);
    roles.set(role, { file: roleFile(meta.version, bytes), metadata: parseTargets(bytes, role) });
  }
  const state: RepositoryState = {
    root,
    timestamp: signedRole(timestamp, timestampBytes),
    snapshot: signedRole(snapshot, snapshotBytes),
    roles,
  };
  const targets = roles.get('targets');
  if (targets === undefined) throw damaged('expected the snapshot to name targets.json');
  verifyRole(root, 'targets', targets.metadata);
  checkOnlineKeys(root.signed, keys, damaged);
  return state;
}

async function readLastRoot(
  folder: string,
  files: DurableFiles,
  must: (name: string) => Promise<Uint8Array>,
): Promise<Metadata<Root>> {
  const versions = (await files.list(folder))
    .map((name) => /^([1-9][0-9]{0,8})\.root\.json$/.exec(name)?.[1])
    .filter((version) => version !== undefined)
    .map(Number);
  return parseRoot(await must(roleFileName(Math.max(1, ...versions), 'root')));
}

/** A root is of use to this server only if it names the server's own two keys. */
export function checkOnlineKeys(root: Root, keys: OnlineKeys, refuse: (message: string) => Error): void {
  for (const role of ['snapshot', 'timestamp'] as const) {
    const listed = root.roles[role];
    if (listed?.threshold !== 1 || !listed.keyIDs.includes(keys[role].keyId)) {
      throw refuse(`expected root to name this registry's key for role ${role} with threshold 1`);
    }
  }
}

function authentic<T extends Snapshot | Timestamp>(
  root: Metadata<Root>,
  role: string,
  parse: () => Metadata<T>,
): Metadata<T> {
  try {
    const metadata = parse();
    root.verifyDelegate(role, metadata);
    return metadata;
  } catch (cause) {
    throw damaged(`expected ${role} metadata signed as root says: ${(cause as Error).message}`);
  }
}

function json(bytes: Uint8Array): Parameters<typeof Metadata.fromJSON>[1] {
  return JSON.parse(utf8Decode(bytes) ?? '');
}

function checkHash(
  role: string,
  hashes: Readonly<Record<string, string>> | undefined,
  bytes: Uint8Array,
): void {
  if (hashes?.sha256 !== roleFile(1, bytes).sha256) {
    throw damaged(`expected role ${role} to have the digest that the repository signed`);
  }
}

function signedRole(metadata: Metadata<Snapshot> | Metadata<Timestamp>, bytes: Uint8Array): SignedRole {
  return { version: metadata.signed.version, bytes, expiresMs: Date.parse(metadata.signed.expires) };
}

function damaged(message: string): Error {
  return STORE.reject('REGISTRY_DATA_DAMAGED', `TUF repository: ${message}`);
}
