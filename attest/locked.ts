// SPDX-License-Identifier: Apache-2.0
// What waybill.lock pins [docs/spec/lock.md], as far as statements name it: identity and digest. The lock's other members
// are the builder's to judge; their bytes are bound by the lock's digest.

import { type DocumentNode, parseDocument } from '../core/encoding/document.ts';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import { ATTEST } from './faults.ts';

/** Each locked blob, by SHA-256. */
export type LockedBlobs = ReadonlyMap<string, LockedBlob>;

export interface LockedBlob {
  readonly sizeBytes: number;
  /** What names it: without escapes and, of Debian packages, without the distribution. */
  readonly names: readonly string[];
}

/** Reads a lock. @throws ATTEST_LOCK_MALFORMED */
export function parseLockedBlobs(lock: Uint8Array): LockedBlobs {
  const refuse = (message: string, at: string) =>
    ATTEST.reject('ATTEST_LOCK_MALFORMED', message, { at: `waybill.lock: ${at}` });
  const root = parseDocument(lock, { refuse });
  root.field('lockVersion').integer(1, 1);
  const blobs = new Map<string, LockedBlob>();
  for (const { sha256, sizeBytes, name } of root.field('inputs').elements().flatMap(identitiesOf)) {
    blobs.set(sha256, { sizeBytes, names: [...(blobs.get(sha256)?.names ?? []), name] });
  }
  return blobs;
}

interface Identity {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly name: string;
}

function identity(one: DocumentNode, nameOf: (sha256: string) => string): Identity {
  const sha256 = one.field('sha256').sha256();
  return { sha256, sizeBytes: one.field('sizeBytes').integer(0), name: nameOf(sha256) };
}

function identitiesOf(input: DocumentNode): Identity[] {
  switch (input.field('kind').word('debian', 'file', 'folder', 'git', 'oci', 'west')) {
    case 'debian':
      return input.field('packages').elements().map(packageIdentity);
    case 'file':
      return [download(input)];
    case 'folder':
      return [generic(input, input.field('name').string(), '')];
    case 'git':
      return [commitIdentity(input)];
    case 'west':
      return [
        ...input.field('projects').elements().map(commitIdentity),
        ...input.field('blobs').elements().map(download),
      ];
    case 'oci':
      return imageIdentities(input);
  }
}

function packageIdentity(one: DocumentNode): Identity {
  const [name, version, architecture] = ['name', 'version', 'architecture'].map((member) =>
    one.field(member).string(),
  );
  return identity(one, () => `pkg:deb/${name}@${version}?arch=${architecture}`);
}

function generic(one: DocumentNode, name: string, qualifiers: string): Identity {
  return identity(one, (sha256) => `pkg:generic/${name}?checksum=sha256:${sha256}${qualifiers}`);
}

function download(one: DocumentNode): Identity {
  const url = one.field('url').string();
  return generic(one, lastOf(url), `&download_url=${unescaped(url) ?? url}`);
}

function commitIdentity(one: DocumentNode): Identity {
  const url = one.field('url').string();
  const commit = one.field('commit').string();
  const name = `${lastOf(url).replace(/\.git$/, '')}@${commit}`;
  return generic(one, name, `&vcs_url=git+${unescaped(url) ?? url}@${commit}`);
}

function imageIdentities(input: DocumentNode): Identity[] {
  const image = input.field('image').string();
  const index = input.optional('index');
  const parts = [
    ...(index === undefined ? [] : [index]),
    input.field('config'),
    ...input.field('layers').elements(),
  ];
  return [
    identity(input, (sha256) => `pkg:oci/${lastOf(image)}@sha256:${sha256}?repository_url=${image}`),
    ...parts.map((part) => generic(part, lastOf(image), '')),
  ];
}

/** The last segment of a location. */
function lastOf(location: string): string {
  const path = location.includes('://') ? new URL(location).pathname : location;
  return unescaped(path.replace(/\/+$/, '').split('/').at(-1) ?? '') || 'file';
}

/** True if the lock pins this very input: its name and digest. (The distribution of a package is in waybill.yaml alone.) */
export function isLocked(input: ResourceDescriptor, locked: LockedBlobs): boolean {
  const named = unescaped(input.uri ?? '')?.replace(/^pkg:deb\/[a-z0-9.-]+\//, 'pkg:deb/');
  return named !== undefined && locked.get(input.sha256)?.names.includes(named) === true;
}

/** Package URLs may escape any character: compared without escapes. */
function unescaped(uri: string): string | undefined {
  try {
    return decodeURIComponent(uri);
  } catch {
    return undefined;
  }
}
