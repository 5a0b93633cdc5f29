// SPDX-License-Identifier: Apache-2.0
// The TUF repository [TUF-1.0.34 §6, docs/spec/tuf-repository.md]: takes roles signed offline, checks them against their
// delegation, and publishes each change as one step that readers see whole or not at all. The order of writing is what makes
// it so: role file, snapshot, and last timestamp.json, which alone says what is current.

import { join } from 'node:path';
import type { Metadata, Root, Targets } from '@tufjs/models';
import { quote } from '../../core/faults.ts';
import type { Blobs } from '../store/blobs.ts';
import { type DurableFiles, diskFiles } from '../store/durable-files.ts';
import { Turns } from '../store/turns.ts';
import { STORE } from '../store-faults.ts';
import { type HeldKeys, type OnlineKeys, openTufOnlineKeys } from './online-keys.ts';
import { LIFETIME_MS, roleFile, type SignedRole, signSnapshot, signTimestamp } from './online-roles.ts';
import {
  checkOnlineKeys,
  type PublishedRole,
  type RepositoryPlace,
  type RepositoryState,
  readState,
  roleFileName,
} from './repository-state.ts';
import {
  checkRootRoles,
  expiresMs,
  type NamedTarget,
  parseRoot,
  parseTargets,
  productOfRole,
  targetsOf,
  verifyRole,
} from './role-document.ts';

export interface RepositoryOptions extends RepositoryPlace {
  readonly blobs: Blobs;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly files?: DurableFiles;
}

/** What whoever publishes says is meant. */
export interface Allowed {
  /** True: keys that the published trusted root has ended may count again. */
  readonly reopen: boolean;
}

/** What the owner of the repository does with a change: look at it before, act on it after. */
export interface ChangeObserver {
  /** Called before publication, when every target file is there; throws to refuse. */
  examine(role: string, targets: readonly NamedTarget[], allowed: Allowed): Promise<void>;
  /** Called when the change is durable and readable. */
  published(role: string, targets: readonly NamedTarget[]): Promise<void>;
}

/** Outcome of `put`. */
export type PutOutcome =
  | { readonly kind: 'published' | 'unchanged'; readonly version: number }
  | { readonly kind: 'pending'; readonly missing: readonly NamedTarget[] };

/**
 * Makes a repository from what the key ceremony signed: root 1, targets 1 and the files that targets names; signs snapshot 1 and
 * timestamp 1. @throws the codes of `parseRoot`, `parseTargets` and `verifyRole`, TUF_REPOSITORY_ROOT_UNSUITABLE,
 * TUF_TARGETS_MISSING, REGISTRY_STORE_FAILED
 */
export async function createTufRepository(
  options: RepositoryOptions & {
    readonly root: Uint8Array;
    readonly targets: Uint8Array;
    readonly targetFiles: readonly { readonly name: string; readonly bytes: Uint8Array }[];
  },
): Promise<void> {
  const { folder, clock, files = diskFiles, blobs } = options;
  const root = parseRoot(options.root);
  const targets = parseTargets(options.targets, 'targets');
  const keys = checkNextRoot(root, root, targets, await openTufOnlineKeys(options.keysFolder));
  for (const file of options.targetFiles) await blobs.add(file.bytes);
  const missing = await missingOf(targets, blobs);
  if (missing.length > 0) {
    throw STORE.reject('TUF_TARGETS_MISSING', `expected the file of each target, lack ${names(missing)}`);
  }
  const published = { file: roleFile(targets.signed.version, options.targets), metadata: targets };
  const snapshot = signSnapshot(1, new Map([['targets', published.file]]), keys, clock());
  const timestamp = signTimestamp(1, snapshot, keys, clock());
  await files.write(join(folder, roleFileName(root.signed.version, 'root')), options.root);
  await files.write(join(folder, roleFileName(targets.signed.version, 'targets')), options.targets);
  await files.write(join(folder, roleFileName(1, 'snapshot')), snapshot.bytes);
  await files.write(join(folder, 'timestamp.json'), timestamp.bytes);
}

export class TufRepository {
  readonly #options: RepositoryOptions;
  readonly #files: DurableFiles;
  readonly #turns = new Turns();
  #state: RepositoryState;
  /** True after a write of which the folder could not be asked, or before its consequences were written. */
  #isUncertain = false;
  readonly #everPublished = new Set<string>();
  /** Sound metadata that waits for target files, by role. */
  readonly #pending: Map<string, { readonly bytes: Uint8Array; readonly targets: readonly NamedTarget[] }>;

  private constructor(
    options: RepositoryOptions,
    state: RepositoryState,
    pending: Map<string, { readonly bytes: Uint8Array; readonly targets: readonly NamedTarget[] }>,
  ) {
    this.#options = options;
    this.#files = options.files ?? diskFiles;
    this.#state = state;
    this.#pending = pending;
    for (const role of state.roles.values()) this.#remember(targetsOf(role.metadata));
  }

  /** Opens a repository. @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED */
  static async open(options: RepositoryOptions): Promise<TufRepository> {
    const files = options.files ?? diskFiles;
    const { state, isCutOff } = await readState(options, files);
    const pending = new Map<string, { bytes: Uint8Array; targets: readonly NamedTarget[] }>();
    for (const name of await files.list(join(options.folder, 'pending'))) {
      const role = /^([a-z0-9-]+)\.json$/.exec(name)?.[1];
      const bytes = role === undefined ? undefined : await files.read(join(options.folder, 'pending', name));
      if (role === undefined || bytes === undefined) continue;
      pending.set(role, { bytes, targets: targetsOf(parseTargets(bytes, role)) });
    }
    const repository = new TufRepository(options, state, pending);
    if (isCutOff) await repository.#signAnew();
    return repository;
  }

  /** What a role names now; nothing for a role that is not published. */
  targets(role: string): readonly NamedTarget[] {
    const published = this.#state.roles.get(role);
    return published === undefined ? [] : targetsOf(published.metadata);
  }

  /** Names of the published roles, `targets` and each `releases-<product>`. */
  roles(): readonly string[] {
    return [...this.#state.roles.keys()];
  }

  /** When root and top-level targets expire, milliseconds since 1970: only people with offline keys can renew them. */
  offlineExpiriesMs(): { readonly root: number; readonly targets: number } {
    return { root: expiresMs(this.#state.root), targets: expiresMs(this.#topLevel().metadata) };
  }

  /** When the roles that the registry signs itself expire, milliseconds since 1970. */
  onlineExpiriesMs(): { readonly snapshot: number; readonly timestamp: number } {
    return { snapshot: this.#state.snapshot.expiresMs, timestamp: this.#state.timestamp.expiresMs };
  }

  /** True if a file with this digest is published, or was since the start: a client may be half-way through. */
  isPublished(sha256: string): boolean {
    return this.#everPublished.has(sha256);
  }

  /** True if published or pending metadata names a file with this digest. */
  names(sha256: string): boolean {
    const pending = [...this.#pending.values()].flatMap((entry) => entry.targets);
    return this.isPublished(sha256) || pending.some((target) => target.sha256 === sha256);
  }

  /**
   * Bytes of a metadata file by its name in the repository (`timestamp.json`, `3.snapshot.json`); a version that no
   * published state names yet is not there. @throws TUF_REPOSITORY_FILE_UNKNOWN, REGISTRY_STORE_FAILED
   */
  async metadataFile(name: string): Promise<Uint8Array> {
    if (name === 'timestamp.json') return this.#state.timestamp.bytes;
    const match = /^([1-9][0-9]{0,8})\.([a-z0-9-]+)\.json$/.exec(name);
    const [version, role] = [Number(match?.[1] ?? 0), match?.[2] ?? ''];
    const bytes =
      version >= 1 && version <= this.#currentVersion(role)
        ? await this.#files.read(join(this.#options.folder, name))
        : undefined;
    if (bytes === undefined) {
      throw STORE.reject('TUF_REPOSITORY_FILE_UNKNOWN', `expected a published file, got ${quote(name)}`);
    }
    return bytes;
  }

  #remember(targets: readonly NamedTarget[]): void {
    for (const target of targets) this.#everPublished.add(target.sha256);
  }

  #currentVersion(role: string): number {
    if (role === 'root') return this.#state.root.signed.version;
    if (role === 'snapshot') return this.#state.snapshot.version;
    return this.#state.roles.get(role)?.file.version ?? 0;
  }

  #topLevel(): PublishedRole {
    // `readState` opens no repository without it.
    return this.#state.roles.get('targets') as PublishedRole;
  }

  /**
   * Takes the next version of a targets role. With files missing it is kept as pending; otherwise it is published.
   * @throws the codes of `parseTargets` and `verifyRole`, TUF_REPOSITORY_ROLE_UNKNOWN, TUF_REPOSITORY_VERSION_WRONG,
   * TUF_REPOSITORY_EXPIRED, TUF_REPOSITORY_TARGET_SIZE, what `examine` throws, REGISTRY_STORE_FAILED
   */
  put(
    role: string,
    bytes: Uint8Array,
    observer: ChangeObserver,
    allowed: Allowed = { reopen: false },
  ): Promise<PutOutcome> {
    return this.#change(async () => {
      const current = this.#state.roles.get(role);
      if (role !== 'targets' && productOfRole(role) === undefined) throw unknownRole(role);
      const metadata = parseTargets(bytes, role);
      this.#verify(role, metadata);
      const version = metadata.signed.version;
      const targets = targetsOf(metadata);
      if (current?.file.version === version && current.file.sha256 === roleFile(version, bytes).sha256) {
        // The first answer may have been lost before all was done.
        await this.#settle(role, targets, observer);
        return { kind: 'unchanged', version };
      }
      this.#checkNext(role, version, current?.file.version ?? 0, expiresMs(metadata));
      const missing = await missingOf(metadata, this.#options.blobs);
      if (missing.length > 0) {
        await this.#files.write(join(this.#options.folder, 'pending', `${role}.json`), bytes);
        this.#pending.set(role, { bytes, targets });
        return { kind: 'pending', missing };
      }
      await observer.examine(role, targets, allowed);
      await this.#publish(role, bytes, metadata);
      await this.#settle(role, targets, observer);
      return { kind: 'published', version };
    });
  }

  /** What follows a publication, and can be done again. */
  async #settle(role: string, targets: readonly NamedTarget[], observer: ChangeObserver): Promise<void> {
    this.#remember(targets);
    await this.#forgetPending(role);
    await observer.published(role, targets);
  }

  #verify(role: string, metadata: Metadata<Targets>): void {
    if (role === 'targets') {
      verifyRole(this.#state.root, role, metadata);
      return;
    }
    const delegator = this.#topLevel().metadata;
    if (delegator.signed.delegations?.roles?.[role] === undefined) throw unknownRole(role);
    verifyRole(delegator, role, metadata);
  }

  #checkNext(role: string, version: number, current: number, expires: number): void {
    if (version !== current + 1) {
      throw STORE.reject(
        'TUF_REPOSITORY_VERSION_WRONG',
        `role ${quote(role)}: expected version ${current + 1}, got ${version}`,
      );
    }
    if (expires <= this.#options.clock()) {
      throw STORE.reject('TUF_REPOSITORY_EXPIRED', `role ${quote(role)}: expected an expiry in the future`);
    }
  }

  /** Writes role, snapshot and, last, timestamp; only then do readers see the change. */
  async #publish(role: string, bytes: Uint8Array, metadata: Metadata<Targets>): Promise<void> {
    const { folder } = this.#options;
    const version = metadata.signed.version;
    const roles = new Map(this.#state.roles).set(role, { file: roleFile(version, bytes), metadata });
    await this.#orReload(async () => {
      await this.#files.write(join(folder, roleFileName(version, role)), bytes);
      const snapshot = await this.#writeSnapshot(roles);
      const timestamp = await this.#writeTimestamp(snapshot);
      this.#state = { ...this.#state, roles, snapshot, timestamp };
    });
  }

  async #writeSnapshot(
    roles: ReadonlyMap<string, PublishedRole>,
    keys = this.#state.keys,
  ): Promise<SignedRole> {
    const { folder, clock } = this.#options;
    const fileOf = new Map([...roles].map(([role, published]) => [role, published.file]));
    const snapshot = signSnapshot(this.#state.snapshot.version + 1, fileOf, keys, clock());
    await this.#files.write(join(folder, roleFileName(snapshot.version, 'snapshot')), snapshot.bytes);
    return snapshot;
  }

  async #writeTimestamp(snapshot: SignedRole, keys = this.#state.keys): Promise<SignedRole> {
    const { folder, clock } = this.#options;
    const timestamp = signTimestamp(this.#state.timestamp.version + 1, snapshot, keys, clock());
    await this.#files.write(join(folder, 'timestamp.json'), timestamp.bytes);
    return timestamp;
  }

  /** One change after the other, each from what is certain. */
  #change<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.take('publish', async () => {
      if (this.#isUncertain) await this.#reload();
      return work();
    });
  }

  /** A write that failed may still have happened: what the folder says afterwards is what is published. */
  async #orReload(change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch (failure) {
      this.#isUncertain = true;
      // Until that succeeds, readers keep what they had, and nothing is changed.
      await this.#reload().catch(() => undefined);
      throw failure;
    }
  }

  async #reload(): Promise<void> {
    const { state, isCutOff } = await readState(this.#options, this.#files);
    if (isCutOff) await this.#signAnew(state);
    else this.#state = state;
    this.#isUncertain = false;
    for (const role of this.#state.roles.values()) this.#remember(targetsOf(role.metadata));
  }

  /** Signs snapshot and timestamp with the keys of a root that was written, and only then shows that root. */
  async #signAnew(next = this.#state): Promise<void> {
    const snapshot = await this.#writeSnapshot(next.roles, next.keys);
    const timestamp = await this.#writeTimestamp(snapshot, next.keys);
    this.#state = { ...next, snapshot, timestamp };
  }

  async #forgetPending(role: string): Promise<void> {
    if (!this.#pending.delete(role)) return;
    await this.#files.remove(join(this.#options.folder, 'pending', `${role}.json`));
  }

  /**
   * Publishes the next root [TUF-1.0.34 §5.3]: signed by the thresholds of the current and of the new root.
   * @throws TUF_REPOSITORY_METADATA_MALFORMED, TUF_REPOSITORY_THRESHOLD_UNMET, TUF_REPOSITORY_VERSION_WRONG,
   * TUF_REPOSITORY_EXPIRED, TUF_REPOSITORY_ROOT_UNSUITABLE, REGISTRY_STORE_FAILED
   */
  putRoot(bytes: Uint8Array): Promise<PutOutcome> {
    return this.#change(async () => {
      const next = parseRoot(bytes);
      const current = this.#state.root;
      const { version } = next.signed;
      const path = join(this.#options.folder, roleFileName(version, 'root'));
      if (version === current.signed.version) {
        const stored = await this.#files.read(path);
        if (stored !== undefined && Buffer.compare(stored, bytes) === 0)
          return { kind: 'unchanged', version };
      }
      verifyRole(current, 'root', next);
      this.#checkNext('root', version, current.signed.version, expiresMs(next));
      const held = await openTufOnlineKeys(this.#options.keysFolder);
      const keys = checkNextRoot(current, next, this.#topLevel().metadata, held);
      const isRotated = !isSameKeys(keys, this.#state.keys);
      await this.#orReload(async () => {
        await this.#files.write(path, bytes);
        if (isRotated) await this.#signAnew({ ...this.#state, root: next, keys });
        else this.#state = { ...this.#state, root: next };
      });
      return { kind: 'published', version };
    });
  }

  /** Signs timestamp, and snapshot, again when they are due. Returns what was signed. @throws REGISTRY_STORE_FAILED */
  renew(): Promise<readonly ('snapshot' | 'timestamp')[]> {
    return this.#change(async () => {
      const now = this.#options.clock();
      const { snapshot: old, timestamp, roles } = this.#state;
      const staleSnapshot = isDue(old, LIFETIME_MS.snapshot, now);
      if (!staleSnapshot && !isDue(timestamp, LIFETIME_MS.timestamp, now)) return [];
      await this.#orReload(async () => {
        const snapshot = staleSnapshot ? await this.#writeSnapshot(roles) : old;
        this.#state = { ...this.#state, snapshot, timestamp: await this.#writeTimestamp(snapshot) };
      });
      return staleSnapshot ? ['snapshot', 'timestamp'] : ['timestamp'];
    });
  }
}

/** True once half of a role's life is over, and when more than all of it is left: the clock had run ahead. */
function isDue(role: SignedRole, lifetimeMs: number, nowMs: number): boolean {
  const leftMs = role.expiresMs - nowMs;
  return leftMs < lifetimeMs / 2 || leftMs > lifetimeMs;
}

function isSameKeys(one: OnlineKeys, other: OnlineKeys): boolean {
  return one.snapshot.keyId === other.snapshot.keyId && one.timestamp.keyId === other.timestamp.keyId;
}

/** The keys with which the server signs under the next root. */
function checkNextRoot(
  current: Metadata<Root>,
  next: Metadata<Root>,
  targets: Metadata<Targets>,
  held: HeldKeys,
): OnlineKeys {
  const unsuitable = (message: string) => STORE.reject('TUF_REPOSITORY_ROOT_UNSUITABLE', message);
  checkRootRoles(next.signed);
  verifyRole(current, 'root', next);
  verifyRole(next, 'root', next);
  if (!next.signed.consistentSnapshot) throw unsuitable('expected consistent_snapshot, got none');
  const keys = checkOnlineKeys(next.signed, held, unsuitable);
  try {
    verifyRole(next, 'targets', targets);
    return keys;
  } catch (cause) {
    throw unsuitable(
      `expected the published targets to be signed as the new root says: ${(cause as Error).message}`,
    );
  }
}

/** Targets whose file is not stored. @throws TUF_REPOSITORY_TARGET_SIZE if a stored file has another length */
async function missingOf(metadata: Metadata<Targets>, blobs: Blobs): Promise<readonly NamedTarget[]> {
  const missing: NamedTarget[] = [];
  for (const target of targetsOf(metadata)) {
    const sizeBytes = await blobs.sizeBytes(target.sha256);
    if (sizeBytes === undefined) missing.push(target);
    else if (sizeBytes !== target.sizeBytes) {
      throw STORE.reject(
        'TUF_REPOSITORY_TARGET_SIZE',
        `target ${quote(target.name)}: expected its length ${sizeBytes}, got ${target.sizeBytes}`,
      );
    }
  }
  return missing;
}

function unknownRole(role: string): Error {
  return STORE.reject(
    'TUF_REPOSITORY_ROLE_UNKNOWN',
    `expected a role that targets delegates to, got ${quote(role)}`,
  );
}

function names(targets: readonly NamedTarget[]): string {
  return targets.map((target) => quote(target.name)).join(', ');
}
