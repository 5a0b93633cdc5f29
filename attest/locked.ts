// SPDX-License-Identifier: Apache-2.0
// The packages that waybill.lock pins [docs/spec/lock.md], as far as statements name them: identity and digest. The
// lock's other members are the builder's to judge; their bytes are bound by the lock's digest.

import { parseDocument } from '../core/encoding/document.ts';
import type { ResourceDescriptor } from '../core/intoto/statement.ts';
import { ATTEST } from './faults.ts';

/** `name@version?arch=architecture` of each package, by SHA-256. */
export type LockedPackages = ReadonlyMap<string, string>;

/** Reads a lock. @throws ATTEST_LOCK_MALFORMED */
export function parseLockedPackages(lock: Uint8Array): LockedPackages {
  const refuse = (message: string, at: string) =>
    ATTEST.reject('ATTEST_LOCK_MALFORMED', message, { at: `waybill.lock: ${at}` });
  const root = parseDocument(lock, { refuse });
  root.field('lockVersion').integer(1, 1);
  const packages = root
    .field('inputs')
    .elements()
    .flatMap((input) => input.field('packages').elements());
  return new Map(
    packages.map((one) => {
      const [name, version, architecture] = ['name', 'version', 'architecture'].map((member) =>
        one.field(member).string(),
      );
      return [one.field('sha256').sha256(), `${name}@${version}?arch=${architecture}`];
    }),
  );
}

/** True if the lock pins this very package: name, version, architecture and digest. (The distribution is in waybill.yaml alone.) */
export function isLocked(input: ResourceDescriptor, locked: LockedPackages): boolean {
  const pinned = locked.get(input.sha256);
  const named = /^pkg:deb\/[a-z0-9.-]+\/(.+)$/.exec(decoded(input.uri ?? '') ?? '');
  return pinned !== undefined && named?.[1] === pinned;
}

/** Package URLs may escape any character: compared without escapes. */
function decoded(uri: string): string | undefined {
  try {
    return decodeURIComponent(uri);
  } catch {
    return undefined;
  }
}
