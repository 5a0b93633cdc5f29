// SPDX-License-Identifier: Apache-2.0
// What the roles say: root, timestamp, snapshot, targets and delegated targets [TUF-1.0.34 §4.3, §4.4, §4.5, §4.6]. Members that the
// specification does not know are left alone. The optional mirrors role is not read, hash bins of TAP 15 are not either.

import type { Crypto } from '../crypto.ts';
import type { DocumentNode } from '../encoding/document.ts';
import { hexDecode } from '../encoding/hex.ts';
import { quote } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { listedElements, listedMembers, type RoleKeys, readRoleKeys } from './envelope.ts';
import { readKey, type TufKey } from './key.ts';

/** What every role says. */
export interface RoleHead {
  readonly version: number;
  /** As written, and as milliseconds since 1970. */
  readonly expires: string;
  readonly expiresMs: number;
}

export const TOP_LEVEL = ['root', 'timestamp', 'snapshot', 'targets'] as const;
export type TopLevelRole = (typeof TOP_LEVEL)[number];

export interface Root extends RoleHead {
  readonly consistentSnapshot: boolean;
  readonly keys: ReadonlyMap<string, TufKey>;
  readonly roles: Readonly<Record<TopLevelRole, RoleKeys>>;
}

/** Digests in lower-case hex; those by other algorithms are not kept. */
export interface Hashes {
  readonly sha256?: string;
  readonly sha512?: string;
}

/** What a role says of the metadata of another. */
export interface MetaFile {
  readonly version: number;
  readonly sizeBytes?: number;
  readonly hashes?: Hashes;
}

export interface Timestamp extends RoleHead {
  readonly snapshot: MetaFile;
}

export interface Snapshot extends RoleHead {
  /** By file name: `targets.json`, `<role>.json`. */
  readonly meta: ReadonlyMap<string, MetaFile>;
}

export interface TargetFile {
  readonly sizeBytes: number;
  readonly hashes: Hashes;
}

export interface Delegation extends RoleKeys {
  readonly name: string;
  readonly terminating: boolean;
  /** Neither: it covers nothing. */
  readonly paths?: readonly string[];
  readonly pathHashPrefixes?: readonly string[];
}

export interface Targets extends RoleHead {
  readonly targets: ReadonlyMap<string, TargetFile>;
  readonly keys: ReadonlyMap<string, TufKey>;
  /** In the order of their priority. */
  readonly delegations: readonly Delegation[];
}

/** Clients compare the major number alone [TUF-1.0.34 §4.3]. */
const SPEC_VERSION = /^1\.[0-9]{1,4}(?:\.[0-9]{1,4})?$/;

function readHead(signed: DocumentNode, type: TopLevelRole): RoleHead {
  signed.field('_type').word(type);
  signed.field('spec_version').matching(SPEC_VERSION, 'a TUF 1.x version');
  const expires = signed.field('expires');
  return {
    version: signed.field('version').integer(1),
    expires: expires.string(),
    expiresMs: expires.instantMs(),
  };
}

/** Reads a root. @throws the document's fault */
export function readRoot(signed: DocumentNode, crypto: Crypto): Root {
  const head = readHead(signed, 'root');
  const roles = signed.field('roles').only(...TOP_LEVEL, 'mirrors');
  const [root, timestamp, snapshot, targets] = TOP_LEVEL.map((name) => readRoleKeys(roles.field(name)));
  return {
    ...head,
    consistentSnapshot: signed.optional('consistent_snapshot')?.boolean() ?? false,
    keys: readKeys(signed.field('keys'), crypto),
    roles: { root, timestamp, snapshot, targets } as Root['roles'],
  };
}

/** Reads a timestamp, which describes the snapshot and nothing else. @throws the document's fault */
export function readTimestamp(signed: DocumentNode): Timestamp {
  const head = readHead(signed, 'timestamp');
  return {
    ...head,
    snapshot: readMetaFile(signed.field('meta').only('snapshot.json').field('snapshot.json')),
  };
}

/** Reads a snapshot, which names top-level targets at least. @throws the document's fault */
export function readSnapshot(signed: DocumentNode): Snapshot {
  const head = readHead(signed, 'snapshot');
  const meta = signed.field('meta');
  meta.field('targets.json');
  return { ...head, meta: new Map(listedMembers(meta).map(([name, node]) => [name, readMetaFile(node)])) };
}

/** Reads targets, top-level or delegated. @throws the document's fault */
export function readTargets(signed: DocumentNode, crypto: Crypto): Targets {
  const head = readHead(signed, 'targets');
  const delegations = signed.optional('delegations');
  return {
    ...head,
    targets: new Map(
      listedMembers(signed.field('targets')).map(([name, node]) => [name, readTargetFile(node)]),
    ),
    keys: delegations === undefined ? new Map() : readKeys(delegations.field('keys'), crypto),
    delegations: delegations === undefined ? [] : readDelegations(delegations.field('roles')),
  };
}

function readKeys(node: DocumentNode, crypto: Crypto): ReadonlyMap<string, TufKey> {
  return new Map(listedMembers(node).map(([id, key]) => [id, readKey(key, crypto)]));
}

function readMetaFile(node: DocumentNode): MetaFile {
  const length = node.optional('length')?.integer();
  const hashes = node.optional('hashes');
  return {
    version: node.field('version').integer(1),
    ...(length === undefined ? {} : { sizeBytes: length }),
    ...(hashes === undefined ? {} : { hashes: readHashes(hashes) }),
  };
}

function readTargetFile(node: DocumentNode): TargetFile {
  return { sizeBytes: node.field('length').integer(), hashes: readHashes(node.field('hashes')) };
}

const DIGEST_CHARACTERS = { sha256: 64, sha512: 128 } as const;

function readHashes(node: DocumentNode): Hashes {
  const members = node.members();
  // No digest at all would be met by any file.
  if (members.length === 0) throw node.wrong('expected at least one digest, got none');
  const known: { sha256?: string; sha512?: string } = {};
  for (const [algorithm, digest] of members) {
    const text = digest.string();
    if (algorithm !== 'sha256' && algorithm !== 'sha512') continue;
    if (text.length !== DIGEST_CHARACTERS[algorithm] || hexDecode(text) === undefined) {
      throw digest.wrong(`expected a ${algorithm} digest in lower-case hex, got ${quote(text)}`);
    }
    known[algorithm] = text;
  }
  return known;
}

function readDelegations(node: DocumentNode): readonly Delegation[] {
  const names = new Set<string>();
  return listedElements(node).map((role) => {
    const name = readRoleName(role.field('name'));
    if (names.has(name)) throw role.wrong(`expected each role once, got ${quote(name)} twice`);
    names.add(name);
    const paths = role.optional('paths');
    const prefixes = role.optional('path_hash_prefixes');
    if (paths !== undefined && prefixes !== undefined) {
      throw role.wrong('expected paths or path_hash_prefixes, got both');
    }
    return {
      name,
      ...readRoleKeys(role),
      terminating: role.field('terminating').boolean(),
      ...(paths === undefined ? {} : { paths: listedElements(paths).map((path) => path.string()) }),
      ...(prefixes === undefined ? {} : { pathHashPrefixes: listedElements(prefixes).map(readHashPrefix) }),
    };
  });
}

/** A delegated role's name. One of a top-level role would stand for another's metadata, and the name becomes one of a file. */
function readRoleName(node: DocumentNode): string {
  const name = node.string();
  if ((TOP_LEVEL as readonly string[]).includes(name)) {
    throw node.wrong(`expected a name of its own for a delegated role, got ${quote(name)}`);
  }
  if (encodeURIComponent(name).length > LIMITS.tufRoleNameCharacters) {
    throw node.wrong(`expected a role name of at most ${LIMITS.tufRoleNameCharacters} characters`);
  }
  return name;
}

function readHashPrefix(node: DocumentNode): string {
  return node.matching(/^[0-9a-f]{1,64}$/, 'the first digits of a SHA-256 digest in lower-case hex');
}
