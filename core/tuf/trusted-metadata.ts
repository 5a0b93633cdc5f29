// SPDX-License-Identifier: Apache-2.0
// The metadata that a client trusts, and the rules by which other may replace it [TUF-1.0.34 §5.2, §5.3, §5.4, §5.5, §5.6]. Verifying
// changes nothing; what was verified is adopted after it was kept, so that a refusal leaves the roles trusted before.

import type { Crypto } from '../crypto.ts';
import type { JsonObject } from '../encoding/strict-json.ts';
import { quote } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { checkMetaFile, differenceOf, digestBytes } from './digests.ts';
import { checkThreshold, type Envelope, parseEnvelope, type RoleKeys } from './envelope.ts';
import { TUF } from './faults.ts';
import type { TufKey } from './key.ts';
import {
  type RoleHead,
  type Root,
  readRoot,
  readSnapshot,
  readTargets,
  readTimestamp,
  type Snapshot,
  type Targets,
  type Timestamp,
  type TopLevelRole,
} from './roles.ts';

declare const verified: unique symbol;

/** Metadata whose signatures, version and place were verified. Nothing but this file makes one. */
export interface VerifiedRole<T extends RoleHead> {
  readonly [verified]: true;
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The signed part as it is written, members included that nobody here knows. */
  readonly json: JsonObject;
  readonly signed: T;
}

/** Looser than [TUF-1.0.34 §5.6.5]: whoever signs the next version of a targets role may start from one that has expired. */
export interface Expiry {
  readonly evenExpired?: true;
  /** Looser than [TUF-1.0.34 §5.3.10]: for whoever signs the next root, or signs targets while it waits for one. */
  readonly evenExpiredRoot?: true;
}

/** Who may sign a role. */
interface Delegator {
  readonly signers: RoleKeys;
  readonly keys: ReadonlyMap<string, TufKey>;
}

/** The fixed start of an update [TUF-1.0.34 §5.1], and the host's crypto. */
export interface Start {
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly crypto: Crypto;
}

/** @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED if it is no root that its own keys signed */
export function verifyTrustedRoot(bytes: Uint8Array, crypto: Crypto): VerifiedRole<Root> {
  const envelope = parseEnvelope('root', bytes, LIMITS.tufRootSizeBytes);
  const root = readRoot(envelope.signed, crypto);
  checkSigned(envelope, delegatorOf(root, 'root'));
  return asVerified(envelope, root);
}

/**
 * True if a key that could sign timestamp or snapshot in the old root no longer can in the new one. A key that is only added
 * revokes nothing: forgetting then would open a way back.
 */
export function isRotated(from: Root, to: Root): boolean {
  return (['timestamp', 'snapshot'] as const).some((role) => {
    const now = new Set(to.roles[role].keyIds.map((id) => to.keys.get(id)?.identity));
    return from.roles[role].keyIds.some((id) => {
      const identity = from.keys.get(id)?.identity;
      return identity !== undefined && !now.has(identity);
    });
  });
}

export class TrustedMetadata {
  root: VerifiedRole<Root>;
  /** The last one seen, which bounds the next even if it has expired. */
  timestamp: VerifiedRole<Timestamp> | undefined;
  snapshot: VerifiedRole<Snapshot> | undefined;
  readonly start: Start;

  constructor(root: VerifiedRole<Root>, start: Start) {
    this.root = root;
    this.start = start;
  }

  /**
   * The next root [TUF-1.0.34 §5.3.4, §5.3.5]. Its expiry does not matter yet.
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_VERSION_ROLLBACK
   */
  verifyNextRoot(bytes: Uint8Array): VerifiedRole<Root> {
    const envelope = parseEnvelope('root', bytes, LIMITS.tufRootSizeBytes);
    checkSigned(envelope, delegatorOf(this.root.signed, 'root'));
    const root = readRoot(envelope.signed, this.start.crypto);
    checkSigned(envelope, delegatorOf(root, 'root'));
    checkVersion('root', root.version, this.root.signed.version + 1);
    return asVerified(envelope, root);
  }

  /** The last root must be good at the start of the update [TUF-1.0.34 §5.3.10]. @throws TUF_ROLE_EXPIRED */
  checkRootFresh(): void {
    this.checkFresh('root', this.root.signed);
  }

  /** A timestamp that was trusted before: signed by the keys that count now. @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED */
  verifyKeptTimestamp(bytes: Uint8Array): VerifiedRole<Timestamp> {
    const envelope = parseEnvelope('timestamp', bytes, LIMITS.tufTimestampSizeBytes);
    checkSigned(envelope, delegatorOf(this.root.signed, 'timestamp'));
    return asVerified(envelope, readTimestamp(envelope.signed));
  }

  /**
   * A timestamp from the repository [TUF-1.0.34 §5.4]; undefined if it has the version that is trusted already, whatever it says.
   * Stricter than [TUF-1.0.34 §5.4.3]: it may not announce a snapshot older than the one that is trusted either.
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_VERSION_ROLLBACK, TUF_ROLE_EXPIRED
   */
  verifyTimestamp(bytes: Uint8Array): VerifiedRole<Timestamp> | undefined {
    const next = this.verifyKeptTimestamp(bytes);
    const trusted = this.timestamp?.signed;
    if (trusted !== undefined) {
      checkNotOlder('timestamp', next.signed.version, trusted.version);
      if (next.signed.version === trusted.version) return undefined;
      checkNotOlder('snapshot', next.signed.snapshot.version, trusted.snapshot.version);
    }
    checkNotOlder('snapshot', next.signed.snapshot.version, this.snapshot?.signed.version ?? 0);
    this.checkFresh('timestamp', next.signed);
    return next;
  }

  /** A snapshot that was trusted before: signed by the keys that count now. @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED */
  verifyKeptSnapshot(bytes: Uint8Array): VerifiedRole<Snapshot> {
    const envelope = parseEnvelope('snapshot', bytes, LIMITS.tufSnapshotSizeBytes);
    checkSigned(envelope, delegatorOf(this.root.signed, 'snapshot'));
    return asVerified(envelope, readSnapshot(envelope.signed));
  }

  /**
   * The snapshot that the trusted timestamp announces [TUF-1.0.34 §5.5].
   * @throws TUF_METADATA_DIGEST, TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_VERSION_ROLLBACK,
   * TUF_ROLE_EXPIRED
   */
  verifySnapshot(bytes: Uint8Array): VerifiedRole<Snapshot> {
    const { snapshot: announced } = this.freshTimestamp();
    checkMetaFile('snapshot', bytes, announced, this.start.crypto);
    const next = this.verifyKeptSnapshot(bytes);
    checkVersion('snapshot', next.signed.version, announced.version);
    for (const [file, { version }] of this.snapshot?.signed.meta ?? []) {
      // A role that is gone could come back as an older one.
      checkNotOlder(file, next.signed.meta.get(file)?.version ?? 0, version);
    }
    this.checkFresh('snapshot', next.signed);
    return next;
  }

  /** True if the trusted snapshot is the announced one. @throws TUF_ROLE_EXPIRED if it is, and no longer good */
  hasAnnouncedSnapshot(): boolean {
    const { snapshot } = this;
    const { snapshot: announced } = this.freshTimestamp();
    if (snapshot?.signed.version !== announced.version) return false;
    const found = digestBytes(snapshot.bytes, announced.hashes ?? {}, this.start.crypto);
    if (differenceOf(announced, found) !== undefined) return false;
    this.checkFresh('snapshot', snapshot.signed);
    return true;
  }

  /** The timestamp, good at the start of the update. @throws TUF_ROLE_EXPIRED */
  freshTimestamp(): Timestamp {
    if (this.timestamp === undefined) throw new Error('the timestamp is asked for before it was updated');
    this.checkFresh('timestamp', this.timestamp.signed);
    return this.timestamp.signed;
  }

  /** What the snapshot says of a targets role. @throws TUF_ROLE_MISSING */
  metaOf(role: string) {
    if (this.snapshot === undefined) throw new Error('a targets role is asked for before refresh()');
    const meta = this.snapshot.signed.meta.get(`${role}.json`);
    if (meta === undefined) {
      throw TUF.reject('TUF_ROLE_MISSING', `expected the snapshot to list ${quote(role)}, it does not`);
    }
    return meta;
  }

  /**
   * A targets role as the snapshot lists it, by the keys of the role that delegates to it [TUF-1.0.34 §5.6].
   * @throws TUF_ROLE_MISSING, TUF_METADATA_DIGEST, TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED,
   * TUF_VERSION_ROLLBACK, TUF_ROLE_EXPIRED
   */
  verifyTargets(
    role: string,
    bytes: Uint8Array,
    delegator: Root | Targets,
    whose: Expiry = {},
  ): VerifiedRole<Targets> {
    const listed = this.metaOf(role);
    checkMetaFile(role, bytes, listed, this.start.crypto);
    const envelope = parseEnvelope(role, bytes, LIMITS.tufTargetsSizeBytes);
    checkSigned(envelope, delegatorOf(delegator, role));
    const targets = readTargets(envelope.signed, this.start.crypto);
    checkVersion(role, targets.version, listed.version);
    if (whose.evenExpired !== true) this.checkFresh(role, targets);
    return asVerified(envelope, targets);
  }

  private checkFresh(role: string, { expires, expiresMs, version }: RoleHead): void {
    if (expiresMs > this.start.nowMs) return;
    throw TUF.reject('TUF_ROLE_EXPIRED', `${quote(role)} version ${version} expired at ${quote(expires)}`);
  }
}

/** Keys and threshold by which a role above delegates to another. @throws TUF_ROLE_MISSING if it does not */
function delegatorOf(above: Root | Targets, role: string): Delegator {
  const signers =
    'roles' in above
      ? above.roles[role as TopLevelRole]
      : above.delegations.find((delegation) => delegation.name === role);
  if (signers === undefined)
    throw TUF.reject('TUF_ROLE_MISSING', `expected a delegation to ${quote(role)}, found none`);
  return { signers, keys: above.keys };
}

function checkSigned(envelope: Envelope, { signers, keys }: Delegator): void {
  checkThreshold(envelope, signers, keys);
}

function checkVersion(role: string, version: number, expected: number): void {
  if (version === expected) return;
  throw TUF.reject('TUF_VERSION_ROLLBACK', `${quote(role)}: expected version ${expected}, got ${version}`);
}

function checkNotOlder(role: string, version: number, trusted: number): void {
  if (version >= trusted) return;
  const got = version === 0 ? 'none' : `${version}`;
  throw TUF.reject(
    'TUF_VERSION_ROLLBACK',
    `${quote(role)}: expected version ${trusted} or a later one, got ${got}`,
  );
}

function asVerified<T extends RoleHead>(envelope: Envelope, signed: T): VerifiedRole<T> {
  const { role: name, bytes } = envelope;
  return { name, bytes, json: envelope.signed.value as JsonObject, signed } as VerifiedRole<T>;
}
