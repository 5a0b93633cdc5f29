// SPDX-License-Identifier: Apache-2.0
// The next version of root or of top-level targets on its way through its officers' hands [TUF-1.0.34 §6.1,
// docs/spec/tuf-repository.md §Signing in turns]: made from the verified one in force, signed by one after the other.

import type { Crypto } from '../core/crypto.ts';
import { hexDecode } from '../core/encoding/hex.ts';
import type { JsonObject } from '../core/encoding/strict-json.ts';
import { quote, several } from '../core/faults.ts';
import { LIMITS } from '../core/limits.ts';
import { type Envelope, parseEnvelope, type RoleKeys } from '../core/tuf/envelope.ts';
import type { TufKey } from '../core/tuf/key.ts';
import { type Root, readRoot, readTargets, type Targets } from '../core/tuf/roles.ts';
import type { VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import { OFFLINE_LIFETIME_DAYS } from './ceremony.ts';
import { RELEASE } from './faults.ts';
import {
  expiryAfter,
  formatMetadata,
  type RoleSignature,
  roleKey,
  shortId,
  signaturesOver,
} from './role-metadata.ts';
import type { SigningKey } from './signing-key.ts';

/** The roles that people sign for the whole repository. */
export type OfflineRole = 'root' | 'targets';

/** Metadata with the signatures that it has so far. Well-formed; not authenticated. */
export interface RoleFile {
  readonly role: OfflineRole;
  readonly version: number;
  readonly expires: string;
  readonly signed: JsonObject;
  readonly signatures: readonly RoleSignature[];
  readonly envelope: Envelope;
  /** What it says, if it is a root. */
  readonly root: Root | undefined;
}

/** Reads a file of `waybill tuf … --out`. @throws TUF_METADATA_MALFORMED */
export function parseRoleFile(bytes: Uint8Array, crypto: Crypto): RoleFile {
  const type = parseEnvelope('root or targets', bytes, LIMITS.tufTargetsSizeBytes).signed.field('_type');
  const role = type.string() === 'root' ? 'root' : 'targets';
  const sizeBytesMax = role === 'root' ? LIMITS.tufRootSizeBytes : LIMITS.tufTargetsSizeBytes;
  const envelope = parseEnvelope(role, bytes, sizeBytesMax);
  const root = role === 'root' ? readRoot(envelope.signed, crypto) : undefined;
  const { version, expires } = root ?? readTargets(envelope.signed, crypto);
  const signatures = [...envelope.signatures].map(([keyid, sig]) => ({ keyid, sig }));
  const signed = envelope.signed.value as JsonObject;
  return { role, version, expires, signed, signatures, envelope, root };
}

export function formatRoleFile({ signed, signatures }: Pick<RoleFile, 'signed' | 'signatures'>): Uint8Array {
  return formatMetadata(signed, signatures);
}

/** The next version without a signature: a later expiry, and what `change` replaces. */
export function nextVersion(
  current: VerifiedRole<Root> | VerifiedRole<Targets>,
  now: Date,
  crypto: Crypto,
  change: JsonObject = {},
): RoleFile {
  const signed = {
    ...current.json,
    ...change,
    version: current.signed.version + 1,
    expires: expiryAfter(now, OFFLINE_LIFETIME_DAYS),
  };
  return parseRoleFile(formatMetadata(signed, []), crypto);
}

/** Keys of which a threshold must sign. */
interface Requirement extends RoleKeys {
  readonly who: string;
  readonly keys: ReadonlyMap<string, TufKey>;
}

/** Targets is signed as root says; the next root as the one in force says, and as it says itself [TUF-1.0.34 §6.1]. */
function requirementsOf(file: RoleFile, root: Root): readonly Requirement[] {
  if (file.root === undefined) return [{ ...root.roles.targets, keys: root.keys, who: 'targets keys' }];
  const [old, next] = [root, file.root].map(({ version, roles, keys }) => ({
    ...{ ...roles.root, keys, who: `root keys of version ${version}` },
  })) as [Requirement, Requirement];
  return isSameDemand(old, next) ? [{ ...next, who: 'root keys' }] : [old, next];
}

function isSameDemand(one: Requirement, other: Requirement): boolean {
  const people = ({ keyIds, keys }: Requirement) => keyIds.map((id) => keys.get(id)?.identity).join('\n');
  return one.threshold === other.threshold && people(one) === people(other);
}

/** What a file lacks of one threshold. */
export interface MissingSignatures {
  readonly who: string;
  readonly threshold: number;
  readonly signed: readonly string[];
  /** Ids of those who can still sign. */
  readonly unsigned: readonly string[];
}

/** Thresholds that valid signatures do not meet yet; none if the file can be published. */
export function missingSignatures(file: RoleFile, root: Root): readonly MissingSignatures[] {
  return requirementsOf(file, root).flatMap(({ who, keyIds, threshold, keys }) => {
    const signed = keyIds.filter((id) => isSignedBy(file.envelope, id, keys.get(id)));
    const people = new Set(signed.map((id) => keys.get(id)?.identity));
    if (people.size >= threshold) return [];
    return [{ who, threshold, signed, unsigned: keyIds.filter((id) => !signed.includes(id)) }];
  });
}

function isSignedBy({ data, signatures }: Envelope, id: string, key: TufKey | undefined): boolean {
  const signature = hexDecode(signatures.get(id) ?? '-');
  return signature !== undefined && key?.verify?.(data, signature) === true;
}

/** Refuses a file that lacks signatures, and says how many. @throws OFFLINE_ROLE_UNSIGNED */
export function checkSigned(file: RoleFile, root: Root): void {
  const missing = missingSignatures(file, root);
  if (missing.length === 0) return;
  throw RELEASE.reject(
    'OFFLINE_ROLE_UNSIGNED',
    `${file.role} version ${file.version}: ${missing.map(explainMissing).join('; ')}`,
  );
}

/** `expected 2 of 3 root keys of version 1, got 1: 1 more of 3f2a…, 99b1…`. */
export function explainMissing({ who, threshold, signed, unsigned }: MissingSignatures): string {
  return (
    `expected signatures by ${threshold} of ${signed.length + unsigned.length} ${who}, got ${signed.length}: ` +
    `${threshold - signed.length} more of ${several(unsigned.map(shortId))}`
  );
}

/** Refuses what is not the next version. @throws OFFLINE_ROLE_STALE */
export function checkNext(file: RoleFile, current: { readonly signed: { readonly version: number } }): void {
  const next = current.signed.version + 1;
  if (file.version === next) return;
  throw RELEASE.reject(
    'OFFLINE_ROLE_STALE',
    `expected ${file.role} version ${next}, the next one, got version ${file.version}`,
  );
}

/**
 * Adds signatures. Each key must be one whose signature counts, or be named as one that a later root will list.
 * @throws RELEASE_KEY_NOT_DELEGATED, and what the keys throw
 */
export async function addSignatures(
  file: RoleFile,
  root: Root,
  crypto: Crypto,
  keys: readonly SigningKey[],
  newKeys: readonly SigningKey[] = [],
): Promise<RoleFile> {
  const requirements = requirementsOf(file, root);
  const counting = requirements.flatMap(({ keyIds }) => keyIds);
  const stranger = keys.map((key) => roleKey(key.publicKey).keyId).find((id) => !counting.includes(id));
  if (stranger !== undefined) {
    const wanted = several([...new Set(counting)].map(shortId));
    throw RELEASE.reject(
      'RELEASE_KEY_NOT_DELEGATED',
      `role ${quote(file.role)}: expected keys among ${wanted}, got ${shortId(stranger)}`,
    );
  }
  const added = await signaturesOver(file.signed, [...keys, ...newKeys]);
  const all = new Map([...file.signatures, ...added].map((signature) => [signature.keyid, signature]));
  return parseRoleFile(formatMetadata(file.signed, [...all.values()]), crypto);
}
