// SPDX-License-Identifier: Apache-2.0
// The TUF client [TUF-1.0.34 §5]: the shell that fetches, checks limits and keeps state, around tuf-js' state machine on
// bytes, until core has its own. The library's Updater is not used: it writes its files in place, reads the clock itself
// and wraps what was refused into one error text. Here each refusal keeps its meaning, and no torn write survives.

import { createHash } from 'node:crypto';
import type { TargetFile } from '@tufjs/models';
import { LengthOrHashMismatchError, UnsignedMetadataError } from '@tufjs/models/dist/error.js';
import { BadVersionError, EqualVersionError, ExpiredMetadataError } from 'tuf-js/dist/error.js';
import { TrustedMetadataStore } from 'tuf-js/dist/store.js';
import { DocumentNode } from '../core/encoding/document.ts';
import { type Json, parseStrictJson } from '../core/encoding/strict-json.ts';
import { quote, Rejection } from '../core/faults.ts';
import { TUF } from '../core/tuf/faults.ts';
import { download } from './download.ts';
import { PEERS } from './faults.ts';
import { readKept, writeKept } from './kept-metadata.ts';

/** Sizes that python-tuf and tuf-js use, in bytes; one update accepts at most 256 new roots [TUF-1.0.34 §5.3.3]. */
const LIMITS = {
  root: 512_000,
  timestamp: 16_384,
  snapshot: 2_000_000,
  targets: 5_000_000,
  rootRotations: 256,
  /** Members of anything that a role lists [docs/spec/tuf-repository.md §Roles]. */
  listed: 1024,
};
const IDLE_TIMEOUT_MS = 20_000;

export interface TufClientOptions {
  /** The root.json that the user or the factory trusts. */
  readonly root: Uint8Array;
  /** Base URL of `waybill serve`; metadata lies under `tuf/`, target files under `tuf/targets/`. */
  readonly registryUrl: string;
  /** Where verified metadata is kept between runs; rollback protection lives there. */
  readonly stateFolder: string;
  /** Milliseconds since 1970, read once [TUF-1.0.34 §5.1]. */
  readonly nowMs: number;
}

/** A target file as its role names it: where to fetch it and what it must be. */
export interface TargetPlace {
  readonly url: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Looser than [TUF-1.0.34 §5.6.5]: whoever signs the next version of a targets role may start from one that has expired. */
export interface Expiry {
  readonly evenExpired?: true;
}

export class TufClient {
  private readonly options: TufClientOptions;
  private readonly base: string;
  private readonly store: TrustedMetadataStore;

  private constructor(options: TufClientOptions, store: TrustedMetadataStore) {
    this.options = options;
    this.base = `${options.registryUrl.replace(/\/+$/, '')}/tuf`;
    this.store = store;
    // The library reads the clock in its constructor; the caller's instant counts.
    this.setClock(options.nowMs);
  }

  private setClock(nowMs: number): void {
    (this.store as unknown as { referenceTime: Date }).referenceTime = new Date(nowMs);
  }

  /**
   * Opens the client on the newest root that it trusted before, else on the given one.
   * @throws TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD if the given root is no root
   */
  static async open(options: TufClientOptions): Promise<TufClient> {
    const kept = await readKept(options.stateFolder, 'root');
    if (kept !== undefined) {
      // A damaged file is no reason to be stuck: the factory root leads to the same place.
      try {
        return new TufClient(options, openStore(kept));
      } catch (failure) {
        if (!(failure instanceof Rejection)) throw failure;
      }
    }
    return new TufClient(options, openStore(options.root));
  }

  /**
   * Brings root, timestamp, snapshot and top-level targets up to date [TUF-1.0.34 §5.3 to §5.6].
   * @throws TUF_UNREACHABLE, TUF_METADATA_MALFORMED, TUF_SIGNATURE_THRESHOLD, TUF_VERSION_ROLLBACK, TUF_ROLE_EXPIRED,
   * TUF_METADATA_DIGEST, TUF_STATE_UNWRITABLE
   */
  async refresh(whose: Expiry = {}): Promise<void> {
    await this.updateRoot();
    await this.updateTimestamp();
    await this.updateSnapshot();
    await this.updateTargets('targets', 'root', whose);
    this.refuseGoodsAtTop();
  }

  /** A file that top-level targets names (trust material), verified. @throws TUF_TARGET_MISSING, TUF_TARGET_DIGEST, TUF_UNREACHABLE */
  async trustMaterial(name: string): Promise<Uint8Array> {
    return this.fetchTarget(this.place(this.role('targets').targets[name], name, 'targets'), LIMITS.targets);
  }

  /** Names of the top-level targets, in order of name. */
  trustMaterialNames(): string[] {
    return Object.keys(this.role('targets').targets).sort();
  }

  /** A file of the product's own delegation, verified. @throws as `goodsTarget`, and TUF_TARGET_DIGEST */
  async goods(product: string, name: string, sizeBytesMax: number): Promise<Uint8Array> {
    return this.fetchTarget(await this.goodsTarget(product, name), sizeBytesMax);
  }

  /**
   * Where a file of the product's own delegation lies and what it must be; nothing is downloaded but the role.
   * @throws TUF_ROLE_MISSING, TUF_GOODS_WRONG_ROLE, TUF_TARGET_MISSING and what `refresh` throws
   */
  async goodsTarget(product: string, name: string): Promise<TargetPlace> {
    const own = `releases-${product}`;
    const roles = Object.values(this.role('targets').delegations?.roles ?? {});
    for (const role of roles) {
      // An earlier delegation would win in the standard's search order: it may not even cover the name.
      if (role.name !== own && role.isDelegatedPath(name)) {
        throw TUF.reject(
          'TUF_GOODS_WRONG_ROLE',
          `expected only ${quote(own)} to cover ${quote(name)}, ${quote(role.name)} does too`,
        );
      }
    }
    const delegation = roles.find((role) => role.name === own);
    if (delegation === undefined || !delegation.terminating || !delegation.isDelegatedPath(name)) {
      throw TUF.reject(
        'TUF_ROLE_MISSING',
        `expected a terminating delegation ${quote(own)} that covers ${quote(name)}, found none`,
      );
    }
    if (this.store.snapshot?.signed.meta[`${own}.json`] === undefined) {
      throw TUF.reject('TUF_ROLE_MISSING', `the product ${quote(product)} has no release yet`);
    }
    await this.updateTargets(own, 'targets', {});
    return this.place(this.role(own).targets[name], name, own);
  }

  /** The signed part of a verified targets role, for those who sign its next version. */
  role(name: string): TargetsRole {
    const metadata = this.store.getRole(name);
    if (metadata === undefined) throw new Error(`role ${name} is read before refresh()`);
    return metadata.signed;
  }

  /** Who may sign a targets role, by the verified role above it; undefined for a role that nobody delegates to. */
  signersOf(name: string): { readonly keyIDs: readonly string[]; readonly threshold: number } | undefined {
    if (name === 'targets') return this.store.root.signed.roles.targets;
    return this.role('targets').delegations?.roles?.[name];
  }

  /** The verified bytes of a targets role as kept in the state folder. */
  async roleBytes(name: string): Promise<Uint8Array> {
    this.role(name);
    const bytes = await readKept(this.options.stateFolder, name);
    if (bytes === undefined)
      throw PEERS.unavailable('TUF_STATE_UNWRITABLE', `the kept metadata of ${quote(name)} is gone`);
    return bytes;
  }

  /** Loads a delegated role without asking for a target; undefined if the snapshot does not know it. */
  async delegatedRole(name: string, whose: Expiry = {}): Promise<TargetsRole | undefined> {
    if (this.store.snapshot?.signed.meta[`${name}.json`] === undefined) return undefined;
    await this.updateTargets(name, 'targets', whose);
    return this.role(name);
  }

  private place(target: TargetFile | undefined, name: string, role: string): TargetPlace {
    if (target === undefined) {
      throw TUF.reject('TUF_TARGET_MISSING', `expected ${quote(role)} to name ${quote(name)}, it does not`);
    }
    const sha256 = target.hashes.sha256;
    if (sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256)) {
      throw TUF.reject('TUF_METADATA_MALFORMED', `expected a SHA-256 digest for ${quote(name)}, got none`);
    }
    const at = name.lastIndexOf('/') + 1;
    const path = `${name.slice(0, at)}${sha256}.${name.slice(at)}`;
    const url = `${this.base}/targets/${path.split('/').map(encodeURIComponent).join('/')}`;
    return { url, sha256, sizeBytes: target.length };
  }

  private async fetchTarget(place: TargetPlace, sizeBytesMax: number): Promise<Uint8Array> {
    if (place.sizeBytes > sizeBytesMax) {
      throw TUF.reject(
        'TUF_METADATA_MALFORMED',
        `expected a target of at most ${sizeBytesMax} bytes, got ${place.sizeBytes}`,
      );
    }
    const bytes = await download(place.url, {
      sizeBytesMax: place.sizeBytes,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      tooLong: 'TUF_TARGET_DIGEST',
    });
    if (bytes === undefined)
      throw PEERS.unavailable('TUF_UNREACHABLE', `the repository does not have ${quote(place.url)}`);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (sha256 !== place.sha256 || bytes.length !== place.sizeBytes) {
      throw TUF.reject(
        'TUF_TARGET_DIGEST',
        `expected sha256:${place.sha256} (${place.sizeBytes} bytes), got sha256:${sha256} (${bytes.length} bytes)`,
      );
    }
    return bytes;
  }

  private async updateRoot(): Promise<void> {
    for (let i = 0; i < LIMITS.rootRotations; i++) {
      const version = this.store.root.signed.version + 1;
      const bytes = await this.fetchMetadata(`${version}.root.json`, LIMITS.root);
      if (bytes === undefined) return;
      checked('root', bytes, (buffer) => this.store.updateRoot(buffer));
      await writeKept(this.options.stateFolder, 'root', bytes);
    }
  }

  private async updateTimestamp(): Promise<void> {
    // The kept timestamp is loaded even if expired: it still bounds what may come [TUF-1.0.34 §5.4.3].
    await this.loadKept('timestamp', (buffer) => this.store.updateTimestamp(buffer));
    const bytes = await this.required('timestamp.json', LIMITS.timestamp);
    try {
      checked('timestamp', bytes, (buffer) => this.store.updateTimestamp(buffer));
    } catch (failure) {
      // The same version again is no news [TUF-1.0.34 §5.4.3.1]; its expiry is checked with the snapshot.
      if (failure instanceof Rejection && failure.cause instanceof EqualVersionError) return;
      throw failure;
    }
    await writeKept(this.options.stateFolder, 'timestamp', bytes);
  }

  private async updateSnapshot(): Promise<void> {
    const loaded = await this.loadKept('snapshot', (buffer) => this.store.updateSnapshot(buffer, true));
    if (loaded) return;
    const meta = this.store.timestamp?.signed.snapshotMeta;
    const bytes = await this.required(
      `${meta?.version}.snapshot.json`,
      sizeMax(meta?.length, LIMITS.snapshot),
    );
    checked('snapshot', bytes, (buffer) => this.store.updateSnapshot(buffer));
    await writeKept(this.options.stateFolder, 'snapshot', bytes);
  }

  private async updateTargets(name: string, delegator: string, { evenExpired }: Expiry): Promise<void> {
    if (this.store.getRole(name) !== undefined) return;
    const load = (buffer: Buffer): void => {
      // The roles above were checked by the caller's clock when they were loaded.
      this.setClock(evenExpired === true ? 0 : this.options.nowMs);
      try {
        this.store.updateDelegatedTargets(buffer, name, delegator);
      } finally {
        this.setClock(this.options.nowMs);
      }
    };
    if (await this.loadKept(name, load)) return;
    const meta = this.store.snapshot?.signed.meta[`${name}.json`];
    const bytes = await this.required(
      `${meta?.version}.${encodeURIComponent(name)}.json`,
      sizeMax(meta?.length, LIMITS.targets),
    );
    checked(name, bytes, load);
    await writeKept(this.options.stateFolder, name, bytes);
  }

  /** Top-level targets signs trust material only (docs/spec/tuf-repository.md). */
  private refuseGoodsAtTop(): void {
    const goods = this.trustMaterialNames().find((name) => /^(images|packs)(\/|$)/.test(name));
    if (goods !== undefined) {
      throw TUF.reject(
        'TUF_GOODS_WRONG_ROLE',
        `top-level targets names ${quote(goods)}; goods belong to releases-<product> alone`,
      );
    }
  }

  private async fetchMetadata(name: string, sizeBytesMax: number): Promise<Uint8Array | undefined> {
    return download(`${this.base}/${name}`, {
      sizeBytesMax,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      tooLong: 'TUF_METADATA_MALFORMED',
    });
  }

  private async required(name: string, sizeBytesMax: number): Promise<Uint8Array> {
    const bytes = await this.fetchMetadata(name, sizeBytesMax);
    if (bytes === undefined)
      throw PEERS.unavailable(
        'TUF_UNREACHABLE',
        `the repository at ${quote(this.base)} has no ${quote(name)}`,
      );
    return bytes;
  }

  private async loadKept(name: string, load: (buffer: Buffer) => unknown): Promise<boolean> {
    const kept = await readKept(this.options.stateFolder, name);
    if (kept === undefined) return false;
    try {
      checked(name, kept, load);
      return true;
    } catch (failure) {
      // What was kept may be outdated or damaged; the repository's own file decides then.
      if (failure instanceof Rejection) return false;
      throw failure;
    }
  }
}

type TargetsRole = NonNullable<TrustedMetadataStore['targets']>['signed'];

/** The length that a role above announces, but never more than the limit: whoever holds an online key may announce anything. */
function sizeMax(announced: number | undefined, limit: number): number {
  return Math.min(announced ?? limit, limit);
}

function openStore(root: Uint8Array): TrustedMetadataStore {
  return checked('root', root, (buffer) => new TrustedMetadataStore(buffer));
}

/** Runs a step of the library's state machine on strict JSON and gives each refusal its code. */
function checked<T>(role: string, bytes: Uint8Array, step: (buffer: Buffer) => T): T {
  const parsed = parseStrictJson(bytes, LIMITS.targets);
  if ('problem' in parsed) {
    throw TUF.reject(
      'TUF_METADATA_MALFORMED',
      `${quote(role)}: expected strict JSON, got ${parsed.problem}`,
      { at: `offset ${parsed.offset}` },
    );
  }
  checkHead(role, parsed.value);
  try {
    return step(Buffer.from(bytes));
  } catch (cause) {
    throw TUF.reject(
      codeOf(cause),
      `${quote(role)}: ${quote(cause instanceof Error ? cause.message : String(cause))}`,
      { cause },
    );
  }
}

/**
 * Version and expiry in the one form of [TUF-1.0.34 §4.2.1]. Stricter than tuf-js, which takes fractions for versions and whatever
 * `Date` makes something of for times; and which takes time with the square of what is listed.
 */
function checkHead(role: string, metadata: Json): void {
  const refuse = (message: string, at: string) =>
    TUF.reject('TUF_METADATA_MALFORMED', `${quote(role)}: ${message}`, { at });
  const signed = new DocumentNode(metadata, { refuse }).field('signed');
  signed.field('version').integer(1);
  signed.field('expires').instantMs();
  const delegations = signed.optional('delegations');
  for (const listed of [
    ...['targets', 'meta', 'keys'].map((name) => signed.optional(name)),
    ...['keys', 'roles'].map((name) => delegations?.optional(name)),
  ]) {
    const count = Object.keys(listed?.value ?? {}).length;
    if (listed !== undefined && count > LIMITS.listed)
      throw listed.wrong(`expected at most ${LIMITS.listed} members, got ${count}`);
  }
}

function codeOf(cause: unknown) {
  if (cause instanceof UnsignedMetadataError) return 'TUF_SIGNATURE_THRESHOLD';
  if (cause instanceof ExpiredMetadataError) return 'TUF_ROLE_EXPIRED';
  if (cause instanceof BadVersionError) return 'TUF_VERSION_ROLLBACK';
  if (cause instanceof LengthOrHashMismatchError) return 'TUF_METADATA_DIGEST';
  return 'TUF_METADATA_MALFORMED';
}
