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
import { keysNamedBy, type OnlineKeys, openTufOnlineKeys } from './online-keys.ts';
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
  /** What signs the next snapshot and timestamp: the keys that root names. */
  readonly keys: OnlineKeys;
}

/** Where a repository lies. */
export interface RepositoryPlace {
  readonly folder: string;
  /** Folder of the online keys. */
  readonly keysFolder: string;
}

/** A state as the folder has it. */
export interface StoredState {
  readonly state: RepositoryState;
  /**
   * True if snapshot or timestamp are signed by the keys of the root before: a publication of root was cut off, and both must be
   * signed anew before anybody sees the new root.
   */
  readonly isCutOff: boolean;
}

/** File name of a role's version [TUF-1.0.34 §6.2]. */
export function roleFileName(version: number, role: string): string {
  return `${version}.${role}.json`;
}

/**
 * Reads the published state and checks that its parts fit each other and the online keys.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED, CA_KEY_EXPOSED
 */
export async function readState(
  { folder, keysFolder }: RepositoryPlace,
  files: DurableFiles,
): Promise<StoredState> {
  const { state, isCutOff } = await readPublished(folder, files);
  const keys = checkOnlineKeys(state.root.signed, await openTufOnlineKeys(keysFolder), damaged);
  return { state: { ...state, keys }, isCutOff };
}

/**
 * The same for whoever reads alone: looks at no key.
 * @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED
 */
export async function readPublished(
  folder: string,
  files: DurableFiles,
): Promise<{ readonly state: Omit<RepositoryState, 'keys'>; readonly isCutOff: boolean }> {
  const must = async (name: string): Promise<Uint8Array> => {
    const bytes = await files.read(join(folder, name));
    if (bytes === undefined) {
      throw STORE.reject('REGISTRY_DATA_MISSING', `expected ${quote(join(folder, name))}, found none`);
    }
    return bytes;
  };
  const { root, before } = await readRoots(folder, files, must);
  const timestampBytes = await must('timestamp.json');
  const timestamp = authentic<Timestamp>([root, before], 'timestamp', () =>
    Metadata.fromJSON(MetadataKind.Timestamp, json(timestampBytes)),
  );
  const { snapshotMeta } = timestamp.metadata.signed;
  const snapshotBytes = await must(roleFileName(snapshotMeta.version, 'snapshot'));
  checkHash('snapshot', snapshotMeta.hashes, snapshotBytes);
  const snapshot = authentic<Snapshot>([root, before], 'snapshot', () =>
    Metadata.fromJSON(MetadataKind.Snapshot, json(snapshotBytes)),
  );
  const roles = new Map<string, PublishedRole>();
  for (const [name, meta] of Object.entries(snapshot.metadata.signed.meta)) {
    const role = name.replace(/\.json$/, '');
    const bytes = await must(roleFileName(meta.version, role));
    checkHash(role, meta.hashes, bytes);
    roles.set(role, { file: roleFile(meta.version, bytes), metadata: parseTargets(bytes, role) });
  }
  const targets = roles.get('targets');
  if (targets === undefined) throw damaged('expected the snapshot to name targets.json');
  verifyRole(root, 'targets', targets.metadata);
  const state = {
    root,
    timestamp: signedRole(timestamp.metadata, timestampBytes),
    snapshot: signedRole(snapshot.metadata, snapshotBytes),
    roles,
  };
  return { state, isCutOff: timestamp.signedBy !== root || snapshot.signedBy !== root };
}

/** The last root, and the one before if there is one. */
async function readRoots(
  folder: string,
  files: DurableFiles,
  must: (name: string) => Promise<Uint8Array>,
): Promise<{ readonly root: Metadata<Root>; readonly before: Metadata<Root> | undefined }> {
  const versions = (await files.list(folder))
    .map((name) => /^([1-9][0-9]{0,8})\.root\.json$/.exec(name)?.[1])
    .filter((version) => version !== undefined)
    .map(Number);
  const last = Math.max(1, ...versions);
  const root = parseRoot(await must(roleFileName(last, 'root')));
  const before = await files.read(join(folder, roleFileName(last - 1, 'root')));
  return { root, before: before === undefined ? undefined : parseRoot(before) };
}

/** The keys with which this server signs under a root; one that names others is of no use to it. */
export function checkOnlineKeys(
  root: Root,
  held: Parameters<typeof keysNamedBy>[1],
  refuse: (message: string) => Error,
): OnlineKeys {
  const keys = keysNamedBy(root, held);
  if (keys !== undefined) return keys;
  throw refuse(
    "expected root to name one of this registry's keys for each of snapshot and timestamp, with threshold 1",
  );
}

interface Authentic<T extends Snapshot | Timestamp> {
  readonly metadata: Metadata<T>;
  readonly signedBy: Metadata<Root>;
}

/** Metadata as the first of the roots that accepts it says. */
function authentic<T extends Snapshot | Timestamp>(
  roots: readonly (Metadata<Root> | undefined)[],
  role: string,
  parse: () => Metadata<T>,
): Authentic<T> {
  let reason = '';
  for (const root of roots) {
    try {
      const metadata = parse();
      root?.verifyDelegate(role, metadata);
      if (root !== undefined) return { metadata, signedBy: root };
    } catch (cause) {
      reason ||= (cause as Error).message;
    }
  }
  throw damaged(`expected ${role} metadata signed as root says: ${reason}`);
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
