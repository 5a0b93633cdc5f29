// SPDX-License-Identifier: Apache-2.0
// The work of `waybill tuf`: makes the next version of root or of top-level targets from the verified one, has it signed, here or
// by officers in turns through a file, and publishes it.

import { portableCrypto } from '../core/crypto.ts';
import type { JsonObject } from '../core/encoding/strict-json.ts';
import { quote, Rejection } from '../core/faults.ts';
import { sameBytes } from '../core/tlog/merkle.ts';
import { canonicalMetadata } from '../core/tuf/canonical.ts';
import { type Root, readTargets, type Targets } from '../core/tuf/roles.ts';
import type { VerifiedRole } from '../core/tuf/trusted-metadata.ts';
import type { TufClient } from '../device/tuf-client.ts';
import { describeChange } from '../release/describe-change.ts';
import { RELEASE } from '../release/faults.ts';
import {
  addSignatures,
  checkNext,
  checkSigned,
  explainMissing,
  formatRoleFile,
  missingSignatures,
  nextVersion,
  type OfflineRole,
  parseRoleFile,
  type RoleFile,
} from '../release/offline-role.ts';
import { openRoleKeys, readRolePublicKey } from '../release/open-key.ts';
import type { Passphrases } from '../release/passphrase.ts';
import { Registry } from '../release/registry.ts';
import { roleKey, shortId } from '../release/role-metadata.ts';
import { publishRole } from '../release/roles.ts';
import { changeRoot, checkTargetsSurvive } from '../release/root-change.ts';
import { CLI } from './faults.ts';
import { readIfThere, readInput, writeOutput } from './files.ts';
import type { Finish } from './interrupt.ts';
import { openTrust, readTrustedRoot, registryUrl } from './trust.ts';
import {
  checkEnds,
  isNamed,
  logPolicyChanges,
  readTrustFiles,
  type TrustFile,
  type TrustFiles,
} from './tuf-trust-files.ts';

/** What every change of an offline role needs. */
export interface TufInputs {
  readonly registry: string;
  /** Path of a root.json that the user trusts. */
  readonly root: string;
  /** Private keys that sign here, by path or `pkcs11:` URI. */
  readonly keys: readonly string[];
  readonly passphrases?: Passphrases | undefined;
  /** Writes the file there instead of publishing it. */
  readonly out?: string | undefined;
  readonly progress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Takes over from `signal` once it is being published. */
  readonly finish?: Finish | undefined;
}

/** What became of a role. */
export interface TufResult {
  readonly role: OfflineRole;
  readonly version: number;
  readonly expires: string;
  readonly published: boolean;
  /** True if it was published before: nothing was sent. */
  readonly wasPublished?: true;
  /** Differences from the version in force, in words. */
  readonly changes: readonly string[];
  /** Signatures that are missing, in words; none if it can be published. */
  readonly missing: readonly string[];
  /** Where it was written. */
  readonly path?: string;
}

/** Opens the repository as those see it who may be late. @throws as `openTrust` */
export async function openOfflineRoles(inputs: Pick<TufInputs, 'registry' | 'root'>): Promise<TufClient> {
  const url = registryUrl(inputs.registry);
  const late = { evenExpired: true, evenExpiredRoot: true } as const;
  return (await openTrust({ registryUrl: url, rootPath: inputs.root, ...late })).client;
}

/**
 * `waybill tuf update`: the next targets with trust files replaced and all else kept.
 * @throws OFFLINE_*, RELEASE_*, CEREMONY_*, TUF_*, CLI_*, and what reading the files throws
 */
export async function updateTrust(inputs: TufInputs & TrustFiles): Promise<TufResult> {
  const files = await readTrustFiles(inputs);
  if (files.length === 0) {
    throw CLI.reject('CLI_USAGE', 'expected --trusted-root, --signing-config or --log-policy, got none');
  }
  inputs.progress(`reading top-level targets from ${inputs.registry}`);
  const client = await openOfflineRoles(inputs);
  const current = client.role('targets');
  if (files.every((file) => isNamed(client, file))) {
    const names = files.map(({ name }) => name).join(', ');
    throw RELEASE.reject('OFFLINE_ROLE_UNCHANGED', `expected another ${names}, got what is published`);
  }
  await checkEnds(inputs, client, files);
  const named = files.map(({ name, sizeBytes, sha256 }) => [name, { length: sizeBytes, hashes: { sha256 } }]);
  const targets = { ...(current.json.targets as JsonObject), ...Object.fromEntries(named) };
  const next = nextVersion(current, new Date(), portableCrypto, { targets });
  return finish(inputs, client, next, { files, reopen: inputs.allowReopen === true });
}

/** True if it says what is in force, whoever signed it. */
function isInForce(file: RoleFile, { json }: { readonly json: JsonObject }): boolean {
  const [ours, theirs] = [canonicalMetadata(file.signed), canonicalMetadata(json)];
  return ours !== undefined && theirs !== undefined && sameBytes(ours, theirs);
}

/**
 * `waybill tuf renew`: signs root or targets again, with a later expiry and nothing else changed. `newKeys` sign targets besides:
 * those that the next root will name for it.
 * @throws OFFLINE_*, RELEASE_*, CEREMONY_*, TUF_*, CLI_*
 */
export async function renewRole(
  inputs: TufInputs & { readonly role: OfflineRole; readonly newKeys?: readonly string[] | undefined },
): Promise<TufResult> {
  const { role, newKeys = [] } = inputs;
  if (role === 'root' && newKeys.length > 0) {
    throw CLI.reject('CLI_USAGE', 'expected --new-key with --role targets alone; use `waybill tuf rotate`');
  }
  inputs.progress(`reading ${role} from ${inputs.registry}`);
  const client = await openOfflineRoles(inputs);
  const current = role === 'root' ? client.root : client.role('targets');
  return finish(inputs, client, nextVersion(current, new Date(), portableCrypto), { newKeys });
}

/** Public keys by path or `pkcs11:` URI. */
export interface RotateInputs extends TufInputs {
  readonly addRoot?: readonly string[] | undefined;
  /** By key id, too. */
  readonly removeRoot?: readonly string[] | undefined;
  readonly rootThreshold?: number | undefined;
  readonly targetsKey?: readonly string[] | undefined;
  readonly addTargets?: readonly string[] | undefined;
  readonly targetsThreshold?: number | undefined;
  readonly snapshotKey?: string | undefined;
  readonly timestampKey?: string | undefined;
}

/**
 * `waybill tuf rotate`: the next root with other keys or thresholds.
 * @throws OFFLINE_*, RELEASE_*, CEREMONY_*, TUF_*, CLI_*
 */
export async function rotateKeys(inputs: RotateInputs): Promise<TufResult> {
  const { addRoot = [], removeRoot = [], rootThreshold, targetsKey, addTargets = [] } = inputs;
  const { targetsThreshold, snapshotKey, timestampKey } = inputs;
  const read = (places: readonly string[]) => Promise.all(places.map(readRolePublicKey));
  const change = {
    addRoot: await read(addRoot),
    targets: targetsKey && (await read(targetsKey)),
    addTargets: await read(addTargets),
    snapshot: snapshotKey === undefined ? undefined : await readRolePublicKey(snapshotKey),
    timestamp: timestampKey === undefined ? undefined : await readRolePublicKey(timestampKey),
    removeRoot: await Promise.all(removeRoot.map(keyIdOf)),
    ...{ rootThreshold, targetsThreshold },
  };
  inputs.progress(`reading root from ${inputs.registry}`);
  const client = await openOfflineRoles(inputs);
  const next = changeRoot(client.root, change, new Date(), portableCrypto);
  checkTargetsSurvive(next, client.role('targets'));
  return finish(inputs, client, next, {});
}

/** A key id as it stands, or that of the public key at a place. @throws as `readRolePublicKey` */
async function keyIdOf(idOrPlace: string): Promise<string> {
  if (/^[0-9a-f]+$/.test(idOrPlace)) return idOrPlace;
  return roleKey(await readRolePublicKey(idOrPlace)).keyId;
}

/** Signs with the keys that are here; then writes the file for others, or publishes it. */
async function finish(
  inputs: TufInputs,
  client: TufClient,
  next: RoleFile,
  more: {
    readonly files?: readonly TrustFile[];
    readonly newKeys?: readonly string[];
    readonly reopen?: boolean;
  },
): Promise<TufResult> {
  const { passphrases, out } = inputs;
  // It may hold signatures that were hard to come by.
  if (out !== undefined && (await readIfThere(out)) !== undefined)
    throw CLI.reject('CLI_USAGE', `expected no file at ${quote(out)} yet, found one`);
  const root = client.root.signed;
  const current = next.role === 'root' ? client.root : client.role('targets');
  const changes = [
    ...describeChange(current.json, next.signed),
    ...(await logPolicyChanges(client, more.files ?? [])),
  ];
  for (const line of changes) inputs.progress(line);
  const keys = await openRoleKeys(inputs.keys, passphrases);
  const newKeys = await openRoleKeys(more.newKeys ?? [], passphrases);
  const signed = await addSignatures(next, root, portableCrypto, keys, newKeys);
  inputs.signal?.throwIfAborted();
  if (out !== undefined) {
    await writeOutput(out, formatRoleFile(signed));
    return { ...resultOf(signed, changes, root, false), path: out };
  }
  checkSigned(signed, root);
  await publish(inputs, signed, more.files ?? [], more.reopen === true);
  return resultOf(signed, changes, root, true);
}

/** Offers a file that is signed. A cancel finds nothing sent, or waits for the answer. @throws RELEASE_*, CLI_CANCELLED, CLI_PUBLICATION_UNCERTAIN */
async function publish(
  inputs: Pick<TufInputs, 'registry' | 'progress' | 'signal' | 'finish'>,
  file: RoleFile,
  files: readonly TrustFile[],
  reopen: boolean,
): Promise<void> {
  const send = (signal: AbortSignal | undefined): Promise<void> => {
    inputs.progress(`publishing ${file.role} version ${file.version}`);
    const registry = new Registry(registryUrl(inputs.registry), signal);
    return publishRole(registry, file.role, formatRoleFile(file), files, { reopen });
  };
  await (inputs.finish === undefined ? send(inputs.signal) : inputs.finish(send));
}

function resultOf(file: RoleFile, changes: readonly string[], root: Root, published: boolean): TufResult {
  const { role, version, expires } = file;
  const missing = missingSignatures(file, root).map(explainMissing);
  return { role, version, expires, published, changes, missing };
}

/** How an officer comes to know what is in force: from the registry, or without any network from files. */
export interface SignInputs extends Pick<TufInputs, 'root' | 'keys' | 'passphrases' | 'progress' | 'signal'> {
  readonly file: string;
  readonly registry?: string | undefined;
  /** The targets in force, for a file of targets without a registry. */
  readonly current?: string | undefined;
  /** The tlog-policy that the file names anew, so that its lines can be told. */
  readonly logPolicy?: string | undefined;
}

/**
 * `waybill tuf sign`: shows what a file changes, and adds signatures to it. Without a key it only shows. One that is in force as it stands needs none.
 * @throws OFFLINE_ROLE_STALE, RELEASE_KEY_NOT_DELEGATED, CEREMONY_*, TUF_*, CLI_*
 */
export async function signRoleFile(
  inputs: SignInputs,
): Promise<TufResult & { readonly signedBy: readonly string[] }> {
  const { file: path, keys: places, passphrases, progress } = inputs;
  const file = await readRoleFile(path);
  const { root, current, client } = await inForce(inputs, file.role);
  const signedBy = ({ signatures }: RoleFile) => signatures.map(({ keyid }) => shortId(keyid));
  if (isInForce(file, current)) {
    const result = resultOf(file, [], root.signed, true);
    return { ...result, missing: [], wasPublished: true, signedBy: signedBy(file) };
  }
  checkNext(file, current);
  const changes = [
    ...describeChange(current.json, file.signed),
    ...(await policyChangesOf(file, inputs.logPolicy, client)),
  ];
  progress(`${file.role} version ${file.version}, against version ${current.signed.version} in force:`);
  for (const line of changes) progress(line);
  if (inputs.logPolicy === undefined && changes.some((line) => line.startsWith('file "tlog-policy"')))
    progress('  its lines are shown with --log-policy and the new file');
  const keys = await openRoleKeys(places, passphrases);
  const signed = await addSignatures(file, root.signed, portableCrypto, keys);
  inputs.signal?.throwIfAborted();
  if (keys.length > 0) await writeOutput(path, formatRoleFile(signed));
  return { ...resultOf(signed, changes, root.signed, false), path, signedBy: signedBy(signed) };
}

/** What the file that is named anew says; it must be that file. @throws CLI_TRUST_FILE_UNSUITABLE */
async function policyChangesOf(
  { role, envelope }: RoleFile,
  logPolicy: string | undefined,
  client: TufClient | undefined,
): Promise<readonly string[]> {
  const files = await readTrustFiles({ logPolicy });
  const targets = role === 'root' ? undefined : readTargets(envelope.signed, portableCrypto).targets;
  for (const { name, sha256 } of files) {
    const named = targets?.get(name)?.hashes.sha256;
    if (named === sha256) continue;
    const message = `expected the ${name} that ${role} names, of sha256 ${named ?? '(none)'}, got one of sha256 ${sha256}`;
    throw CLI.reject('CLI_TRUST_FILE_UNSUITABLE', message);
  }
  return logPolicyChanges(client, files);
}

type InForce = Pick<VerifiedRole<Root> | VerifiedRole<Targets>, 'json' | 'signed'>;

async function inForce(
  inputs: SignInputs,
  role: OfflineRole,
): Promise<{
  readonly root: VerifiedRole<Root>;
  readonly current: InForce;
  readonly client?: TufClient;
}> {
  const { registry, current } = inputs;
  if (registry !== undefined && current !== undefined)
    throw CLI.reject('CLI_USAGE', 'expected --registry or --current, got both');
  if (registry !== undefined) {
    const client = await openOfflineRoles({ registry, root: inputs.root });
    return { root: client.root, current: role === 'root' ? client.root : client.role('targets'), client };
  }
  const root = await readTrustedRoot(inputs.root);
  if (role === 'root') return { root, current: root };
  if (current === undefined) {
    throw CLI.reject('CLI_USAGE', 'expected --registry, or --current with the targets in force, got neither');
  }
  const targets = await readRoleFile(current);
  if (targets.role !== 'targets') throw CLI.reject('CLI_USAGE', 'expected targets in --current, got root');
  checkSigned(targets, root.signed);
  const signed = readTargets(targets.envelope.signed, portableCrypto);
  return { root, current: { json: targets.signed, signed } };
}

/** A file that a user names. @throws OFFLINE_ROLE_MALFORMED, CLI_* */
async function readRoleFile(path: string): Promise<RoleFile> {
  const bytes = await readInput(path);
  try {
    return parseRoleFile(bytes, portableCrypto);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    // Not the repository's fault, as it would be of one that a client follows.
    throw RELEASE.reject('OFFLINE_ROLE_MALFORMED', `${quote(path)}: ${cause.message}`, {
      ...(cause.at === undefined ? {} : { at: cause.at }),
      cause,
    });
  }
}

/**
 * `waybill tuf publish`: offers a file that enough officers have signed. One that is in force as it stands is not offered again.
 * @throws OFFLINE_ROLE_*, RELEASE_*, TUF_*, CLI_*
 */
export async function publishRoleFile(
  inputs: Omit<TufInputs, 'keys' | 'passphrases' | 'out'> & TrustFiles & { readonly file: string },
): Promise<TufResult> {
  const file = await readRoleFile(inputs.file);
  const files = await readTrustFiles(inputs);
  inputs.progress(`reading ${file.role} from ${inputs.registry}`);
  const client = await openOfflineRoles(inputs);
  const current = file.role === 'root' ? client.root : client.role('targets');
  if (isInForce(file, current) && files.every((each) => isNamed(client, each))) {
    return { ...resultOf(file, [], client.root.signed, true), missing: [], wasPublished: true };
  }
  checkNext(file, current);
  checkSigned(file, client.root.signed);
  await checkEnds(inputs, client, files);
  const changes = [...describeChange(current.json, file.signed), ...(await logPolicyChanges(client, files))];
  await publish(inputs, file, files, inputs.allowReopen === true);
  return resultOf(file, changes, client.root.signed, true);
}
