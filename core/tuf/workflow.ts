// SPDX-License-Identifier: Apache-2.0
// The order of an update [TUF-1.0.34 §5]: what is fetched, verified, kept and forgotten, one step after another. It waits for nothing
// itself: each step that needs the outside is yielded as a request, and the host answers with bytes. So every host goes the same way.

import { quote, Rejection } from '../faults.ts';
import { LIMITS } from '../limits.ts';
import { isCovered } from './delegation.ts';
import { TUF } from './faults.ts';
import type { Root, Snapshot, Targets, Timestamp } from './roles.ts';
import { type VerifiedTarget, verifiedTarget } from './target.ts';
import {
  type Expiry,
  isRotated,
  type Start,
  TrustedMetadata,
  type VerifiedRole,
  verifyTrustedRoot,
} from './trusted-metadata.ts';

/**
 * What a host is asked for. Roles whose loss would open a way back are kept twice, first the copy: at every moment one of the two is
 * whole, and a copy that is newer tells of an update that was cut off. A write that is answered is on the medium.
 */
export type TufRequest =
  /** A metadata file by its path at the repository; undefined if there is none, unless it is required. Never more bytes than that. */
  | {
      readonly kind: 'fetch';
      readonly path: string;
      readonly sizeBytesMax: number;
      readonly required: boolean;
    }
  /** What is kept of a role; undefined if nothing is. */
  | { readonly kind: 'read'; readonly role: string; readonly copy: boolean }
  | { readonly kind: 'write'; readonly role: string; readonly copy: boolean; readonly bytes: Uint8Array }
  | { readonly kind: 'remove'; readonly role: string; readonly copy: boolean };

/** A part of the workflow: requests, answers, and in the end a result. */
export type TufSteps<T> = Generator<TufRequest, T, Uint8Array | undefined>;

export class Workflow {
  private readonly trusted: TrustedMetadata;
  /** A root that is still to be adopted or kept: what a cut-off run left half done is done first. */
  private pendingRoot: VerifiedRole<Root> | undefined;
  /** Targets roles of the trusted snapshot, and who vouched for each. */
  private readonly roles = new Map<string, LoadedRole>();

  private constructor(trusted: TrustedMetadata, pendingRoot: VerifiedRole<Root> | undefined) {
    this.trusted = trusted;
    this.pendingRoot = pendingRoot;
  }

  /**
   * Starts from the root that was kept, from its copy if that is damaged, and from the factory's if nothing was kept or the factory's is
   * newer [TUF-1.0.34 §5.2].
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED if there is no root to start from
   */
  static *open(factoryRoot: Uint8Array, start: Start): TufSteps<Workflow> {
    const bytes = yield { kind: 'read', role: 'root', copy: false };
    const copy = yield { kind: 'read', role: 'root', copy: true };
    const verify = (root: Uint8Array) => verifyTrustedRoot(root, start.crypto);
    const kept = held(bytes, verify);
    const last = kept ?? held(copy, verify);
    const factory = last === undefined ? verify(factoryRoot) : held(factoryRoot, verify);
    const trusted = new TrustedMetadata((last ?? factory) as VerifiedRole<Root>, start);
    const newer = factory !== undefined && factory.signed.version > trusted.root.signed.version;
    if (newer) return new Workflow(trusted, factory);
    if (kept !== undefined && isSame(kept.bytes, copy)) return new Workflow(trusted, undefined);
    const cutOff = kept === undefined ? undefined : held(copy, (root) => trusted.verifyNextRoot(root));
    return new Workflow(trusted, cutOff ?? trusted.root);
  }

  /**
   * Brings root, timestamp, snapshot and top-level targets up to date [TUF-1.0.34 §5.3 to §5.6]; `whose` is about root and targets.
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_KEY_UNSUPPORTED, TUF_VERSION_ROLLBACK, TUF_ROLE_EXPIRED,
   * TUF_METADATA_DIGEST
   */
  *refresh(whose: Expiry = {}): TufSteps<void> {
    yield* this.updateRoot(whose);
    yield* this.updateTimestamp();
    yield* this.updateSnapshot();
    yield* this.load('targets', this.root.signed, whose);
  }

  get root(): VerifiedRole<Root> {
    return this.trusted.root;
  }

  get timestamp(): VerifiedRole<Timestamp> | undefined {
    return this.trusted.timestamp;
  }

  get snapshot(): VerifiedRole<Snapshot> | undefined {
    return this.trusted.snapshot;
  }

  /** A targets role that was loaded. */
  role(name: string): VerifiedRole<Targets> {
    const loaded = this.roles.get(name);
    if (loaded === undefined) throw new Error(`role ${name} is read before refresh()`);
    return loaded.role;
  }

  /** True if the snapshot lists metadata of this role. */
  isListed(name: string): boolean {
    return this.trusted.snapshot?.signed.meta.has(`${name}.json`) ?? false;
  }

  /**
   * A role that another delegates to, from memory, from what is kept, or from the repository. Wherever it comes from, it is verified
   * by the keys of this delegator: what one delegator vouches for says nothing to another.
   * @throws TUF_ROLE_MISSING, and as `refresh`
   */
  *load(name: string, delegator: Root | Targets, whose: Expiry = {}): TufSteps<VerifiedRole<Targets>> {
    const verify = (bytes: Uint8Array) => this.trusted.verifyTargets(name, bytes, delegator, whose);
    const adopt = (role: VerifiedRole<Targets>) => {
      this.roles.set(name, { role, delegator, whose });
      return role;
    };
    const loaded = this.roles.get(name);
    if (loaded?.delegator === delegator && loaded.whose.evenExpired === whose.evenExpired) return loaded.role;
    if (loaded !== undefined) return adopt(verify(loaded.role.bytes));
    const listed = this.trusted.metaOf(name);
    const kept = held(yield { kind: 'read', role: name, copy: false }, verify);
    if (kept !== undefined) return adopt(kept);
    const file = `${encodeURIComponent(name)}.json`;
    const bytes = yield* this.fetch(file, listed, LIMITS.tufTargetsSizeBytes);
    const role = verify(bytes);
    yield { kind: 'write', role: name, copy: false, bytes };
    return adopt(role);
  }

  /**
   * Searches a target: the role itself first, then its delegations in their order, each with all that it delegates to; no role twice, and
   * at most 32 delegated ones [TUF-1.0.34 §5.6.7].
   * @throws TUF_TARGET_MISSING, TUF_TARGET_NAME, and as `load`
   */
  *findTarget(name: string): TufSteps<VerifiedTarget> {
    const visited = new Set<string>();
    const waiting: { readonly role: string; readonly delegator: Root | Targets }[] = [
      { role: 'targets', delegator: this.root.signed },
    ];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (visited.has(next.role)) continue;
      if (visited.size > LIMITS.tufRolesVisited) {
        throw TUF.reject(
          'TUF_TARGET_MISSING',
          `expected ${quote(name)} within ${LIMITS.tufRolesVisited} delegated roles, did not find it`,
        );
      }
      visited.add(next.role);
      const role = yield* this.load(next.role, next.delegator);
      if (role.signed.targets.has(name)) return verifiedTarget(role, name, this.root.signed);
      const covering = role.signed.delegations.filter((d) => isCovered(d, name, this.trusted.start.crypto));
      const end = covering.findIndex(({ terminating }) => terminating);
      // Nothing behind a terminating delegation is looked at, here or further up.
      if (end >= 0) waiting.length = 0;
      const children = end < 0 ? covering : covering.slice(0, end + 1);
      waiting.push(...children.map((child) => ({ role: child.name, delegator: role.signed })).reverse());
    }
    throw TUF.reject('TUF_TARGET_MISSING', `expected a role to name ${quote(name)}, none does`);
  }

  private *updateRoot({ evenExpiredRoot }: Expiry): TufSteps<void> {
    if (this.pendingRoot !== undefined) yield* this.adoptRoot(this.pendingRoot);
    this.pendingRoot = undefined;
    for (let i = 0; i < LIMITS.tufRootRotations; i++) {
      const path = `${this.root.signed.version + 1}.root.json`;
      const bytes = yield { kind: 'fetch', path, sizeBytesMax: LIMITS.tufRootSizeBytes, required: false };
      if (bytes === undefined) break;
      yield* this.adoptRoot(this.trusted.verifyNextRoot(bytes));
    }
    if (evenExpiredRoot !== true) this.trusted.checkRootFresh();
  }

  /**
   * Keeps a root, and forgets timestamp and snapshot if their keys were rotated [TUF-1.0.34 §5.3.8, §5.3.11]. The copy goes first: cut
   * off anywhere, the next run finds it newer than the root and does the same again.
   */
  private *adoptRoot(next: VerifiedRole<Root>): TufSteps<void> {
    const { bytes } = next;
    const rotated = isRotated(this.root.signed, next.signed);
    yield { kind: 'write', role: 'root', copy: true, bytes };
    if (rotated) yield* forgetTimes();
    yield { kind: 'write', role: 'root', copy: false, bytes };
    this.trusted.root = next;
    if (!rotated) return;
    this.trusted.timestamp = undefined;
    this.trusted.snapshot = undefined;
  }

  private *updateTimestamp(): TufSteps<void> {
    const { trusted } = this;
    trusted.timestamp ??= yield* kept('timestamp', (bytes) => trusted.verifyKeptTimestamp(bytes));
    trusted.snapshot ??= yield* kept('snapshot', (bytes) => trusted.verifyKeptSnapshot(bytes));
    const bytes = yield* required('timestamp.json', LIMITS.tufTimestampSizeBytes);
    const next = trusted.verifyTimestamp(bytes);
    if (next === undefined) return;
    yield* keep('timestamp', bytes);
    trusted.timestamp = next;
  }

  private *updateSnapshot(): TufSteps<void> {
    const { trusted } = this;
    const { snapshot: announced } = trusted.freshTimestamp();
    if (trusted.hasAnnouncedSnapshot()) return;
    const bytes = yield* this.fetch('snapshot.json', announced, LIMITS.tufSnapshotSizeBytes);
    const next = trusted.verifySnapshot(bytes);
    yield* keep('snapshot', bytes);
    trusted.snapshot = next;
    this.roles.clear();
  }

  /** A metadata file under its name in a consistent snapshot, or under its plain name [TUF-1.0.34 §5.3.12]. */
  private *fetch(
    file: string,
    { version, sizeBytes }: { readonly version: number; readonly sizeBytes?: number },
    limit: number,
  ): TufSteps<Uint8Array> {
    // Whoever holds an online key may announce any length.
    const sizeBytesMax = Math.min(sizeBytes ?? limit, limit);
    return yield* required(this.root.signed.consistentSnapshot ? `${version}.${file}` : file, sizeBytesMax);
  }
}

interface LoadedRole {
  readonly role: VerifiedRole<Targets>;
  readonly delegator: Root | Targets;
  readonly whose: Expiry;
}

function* required(path: string, sizeBytesMax: number): TufSteps<Uint8Array> {
  const bytes = yield { kind: 'fetch', path, sizeBytesMax, required: true };
  if (bytes === undefined) throw new Error(`the host answers a required file ${path} with nothing`);
  return bytes;
}

/** The role as it was kept, or its copy; what does not hold any more is as good as absent. */
function* kept<T>(role: string, verify: (bytes: Uint8Array) => T): TufSteps<T | undefined> {
  for (const copy of [false, true]) {
    const bytes = yield { kind: 'read', role, copy };
    const found = held(bytes, verify);
    if (bytes === undefined || found === undefined) continue;
    if (copy) yield { kind: 'write', role, copy: false, bytes };
    return found;
  }
  return undefined;
}

/** First the copy: the rename of the role itself is the moment that counts. */
function* keep(role: string, bytes: Uint8Array): TufSteps<void> {
  yield { kind: 'write', role, copy: true, bytes };
  yield { kind: 'write', role, copy: false, bytes };
}

function* forgetTimes(): TufSteps<void> {
  for (const role of ['snapshot', 'timestamp']) {
    for (const copy of [false, true]) yield { kind: 'remove', role, copy };
  }
}

/** What kept bytes hold; undefined if there are none, or if they are refused: then the repository's own file decides. */
function held<T>(bytes: Uint8Array | undefined, verify: (bytes: Uint8Array) => T): T | undefined {
  if (bytes === undefined) return undefined;
  try {
    return verify(bytes);
  } catch (failure) {
    if (failure instanceof Rejection) return undefined;
    throw failure;
  }
}

function isSame(bytes: Uint8Array, other: Uint8Array | undefined): boolean {
  return bytes.length === other?.length && bytes.every((byte, i) => byte === other[i]);
}
