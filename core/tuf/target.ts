// SPDX-License-Identifier: Apache-2.0
// A target file as a verified role names it: where it lies, and what it must be [TUF-1.0.34 §5.7].

import type { Crypto } from '../crypto.ts';
import { quote } from '../faults.ts';
import { differenceOf, digestBytes, type FoundFile } from './digests.ts';
import { TUF } from './faults.ts';
import type { Hashes, Root, Targets } from './roles.ts';
import type { VerifiedRole } from './trusted-metadata.ts';

declare const verified: unique symbol;

/** Nothing but this file makes one. */
export interface VerifiedTarget {
  readonly [verified]: true;
  readonly name: string;
  /** The role that names it. */
  readonly role: string;
  readonly sizeBytes: number;
  readonly hashes: Hashes;
  /** Below the folder of targets, each segment encoded for a URL. */
  readonly path: string;
}

/**
 * The target of this name in a role.
 * @throws TUF_TARGET_MISSING, TUF_TARGET_NAME, TUF_METADATA_MALFORMED if no digest is listed that is known here
 */
export function verifiedTarget(role: VerifiedRole<Targets>, name: string, root: Root): VerifiedTarget {
  const file = role.signed.targets.get(name);
  if (file === undefined) {
    throw TUF.reject(
      'TUF_TARGET_MISSING',
      `expected ${quote(role.name)} to name ${quote(name)}, it does not`,
    );
  }
  const digest = file.hashes.sha256 ?? file.hashes.sha512;
  if (digest === undefined) {
    throw TUF.reject(
      'TUF_METADATA_MALFORMED',
      `expected a SHA-256 or SHA-512 digest for ${quote(name)}, got none`,
    );
  }
  const path = targetPath(name, root.consistentSnapshot ? digest : undefined);
  return { name, role: role.name, ...file, path } as VerifiedTarget;
}

/** In a consistent snapshot the file's name is led by its digest [TUF-1.0.34 §6.2.1]. */
function targetPath(name: string, digest: string | undefined): string {
  const segments = name.split('/');
  // A URL with such a segment names another place.
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw TUF.reject(
      'TUF_TARGET_NAME',
      `expected a relative path without empty, "." and ".." segments, got ${quote(name)}`,
    );
  }
  const last = segments.pop() as string;
  const file = digest === undefined ? last : `${digest}.${last}`;
  return [...segments, file].map(encodeURIComponent).join('/');
}

/** Checks a downloaded target: its size, and every digest that is listed and known. @throws TUF_TARGET_DIGEST */
export function checkTargetFile(target: VerifiedTarget, found: FoundFile): void {
  const difference = differenceOf(target, found);
  if (difference !== undefined) throw TUF.reject('TUF_TARGET_DIGEST', `${quote(target.name)}: ${difference}`);
}

/** The same of bytes in memory. @throws TUF_TARGET_DIGEST */
export function checkTargetBytes(
  target: VerifiedTarget,
  bytes: Uint8Array,
  hasher: Pick<Crypto, 'sha256'>,
): void {
  checkTargetFile(target, digestBytes(bytes, target.hashes, hasher));
}
