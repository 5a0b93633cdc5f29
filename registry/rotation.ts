// SPDX-License-Identifier: Apache-2.0
// Rotation of the services' keys [docs/spec/trust-services.md §Rotation]: the next key of a service, its certificate where it needs one,
// and the trust material that says so. Nothing here is published: `targets` signs that, and the server follows what is published.

import { rm } from 'node:fs/promises';
import type { Json, JsonObject } from '../core/encoding/strict-json.ts';
import { quote } from '../core/faults.ts';
import { hasBegunIn } from './log/begun-shard.ts';
import { createLogKey, logVerifierKey, openLogKey } from './log/log-key.ts';
import { logFiles, readFileOf, type TrustFile, trustPath, wholeSecond } from './rotated-log-files.ts';
import { makingKeysAlone } from './rotation-lock.ts';
import { openSigner } from './signer/signer-client.ts';
import { diskFiles, removeLeftoversOf } from './store/durable-files.ts';
import { type AuthorityCertificate, formatPem, readCertificate } from './trust/authority.ts';
import { type NewFile, writeNewFiles } from './trust/files.ts';
import {
  authorityName,
  type CertifiedService,
  chainPath,
  hasKey,
  isThere,
  keyPath,
  type LogService,
  rootKeyPath,
  type Service,
  shardOrigin,
  signerPath,
} from './trust/instances.ts';
import { issueOnline, issueRoot, type MadeRoot, type Root } from './trust/new-authority.ts';
import { openAuthority, openServiceKey, readChain, serviceNames } from './trust/services.ts';
import { newSigner, type P256Signer } from './trust/signer.ts';
import {
  addInstance,
  checkKeepsAll,
  endOf,
  endOlder,
  formatTrustedRoot,
  hasInstance,
  instancesOf,
  readTrustedRoot,
  startOf,
} from './trust/trust-changes.ts';
import { authorityEntry, certificateLogEntry, instant, signatureLogEntry } from './trust/trusted-root.ts';
import { unbegunMark, unbegunPath } from './trust/unbegun.ts';
import { TRUST } from './trust-faults.ts';
import { readPublishedTarget } from './tuf/published-target.ts';

/** The registry whose key is rotated. */
export interface RotatedRegistry {
  /** Made by `waybill init`. */
  readonly dataFolder: string;
  /** As in config.yaml. */
  readonly org: string;
  readonly url: string;
  /** As in config.yaml. */
  readonly headFolder?: string | undefined;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Cancels a rotation until its key is made; from then on it is finished, which takes a moment. */
  readonly signal?: AbortSignal | undefined;
}

/** What to make the next key of. */
export type RotationOf =
  | { readonly service: 'ct' | 'log' }
  /** Issued by the root that is there. */
  | { readonly service: CertifiedService; readonly rootKey: P256Signer }
  /** With a new root, whose key goes to that folder. */
  | {
      readonly service: CertifiedService;
      readonly newRootFolder: string;
      /** Encrypts the PEM of the root key before it is written. */
      readonly seal?: (pem: string) => string;
    };

/** What was done. */
export interface Rotated {
  readonly service: Service;
  /** Counted from 1. */
  readonly instance: number;
  /** Private keys that were made; none if a signer has the key, or a rotation that was broken off is finished. */
  readonly keys: readonly string[];
  /** Certificates that were made, of the key and of the root above it. */
  readonly chain?: string;
  /** The file that names the signer, where one has the key. */
  readonly signer?: string;
  /** Names of trust files that changed, all in `trust/` of the data folder. */
  readonly changed: readonly TrustFile[];
  /** Those of them that were made from the published one, since that in `trust/` lacked something of it. */
  readonly renewed?: readonly TrustFile[];
  /** The verifier key of the new shard of the signature log. */
  readonly logKey?: string;
  /** The instance before, if it is not published either: one more was made since a key was stolen. */
  readonly unpublished?: number;
}

/** How long what was signed with an old key before the change may still be on its way: the life of a certificate. */
export const RETIREMENT_DELAY_MS = 10 * 60_000;

/**
 * Makes the next key of a service and the trust material with it. With `stolenSinceMs` all older keys end at that time, in the past;
 * without, they stay valid until `retire`, and the newest must be published. A rotation that was broken off is finished by the next one.
 * @throws TRUST_ROTATE_EARLY, TRUST_STOLEN_EARLY, CA_FILES_EXIST, CA_FILES_UNREADABLE, CA_FILES_UNWRITABLE, TRUST_ROOT_BEHIND, TRUST_ROOT_KEY_WRONG,
 *   SIGSTORE_TRUSTED_ROOT_MALFORMED, TLOG_POLICY_MALFORMED, REGISTRY_DATA_LOCKED, REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED,
 *   REGISTRY_STORE_FAILED, LOG_STORE_FAILED
 */
export function rotate(registry: RotatedRegistry, of: RotationOf, stolenSinceMs?: number): Promise<Rotated> {
  return makingKeysAlone(registry.dataFolder, () => rotateAlone(registry, of, stolenSinceMs));
}

async function rotateAlone(
  registry: RotatedRegistry,
  of: RotationOf,
  stolenSinceMs: number | undefined,
): Promise<Rotated> {
  const { dataFolder, org } = registry;
  const { service } = of;
  const names = serviceNames(org);
  const root = await openTrustedRoot(dataFolder);
  const instances = instancesOf(root, service, names);
  const instance = instances.length + 1;
  const isAhead = !(await isPublished(dataFolder, service, instances.at(-1)));
  if (isAhead && stolenSinceMs === undefined) {
    throw TRUST.reject(
      'TRUST_ROTATE_EARLY',
      `expected key ${instances.length} of the service ${quote(service)} to be published, got one that is not`,
    );
  }
  if (stolenSinceMs !== undefined) checkStolenSince(service, instances, stolenSinceMs);
  const isMade =
    (await hasKey(dataFolder, service, instance)) &&
    (service === 'ct' || service === 'log' || (await isThere(chainPath(dataFolder, service, instance))));
  registry.signal?.throwIfAborted();
  const { keys, chain } = isMade ? NOTHING_MADE : await makeKey(registry, of, instance);
  if (service === 'ct' || service === 'log') await allowBeginning(registry, service, instance);
  const entry = await entryOf(registry, service, instance);
  const added = addInstance(root, service, entry.json);
  const next = stolenSinceMs === undefined ? added : endOlder(added, service, names, stolenSinceMs);
  const changed = new Map<TrustFile, Uint8Array>();
  const renewed: TrustFile[] = [];
  if (entry.logKey !== undefined) {
    const shard = { instance, logKey: entry.logKey, isStolen: stolenSinceMs !== undefined };
    for (const { name, bytes, isOfPublished } of await logFiles(registry, shard)) {
      changed.set(name, bytes);
      if (isOfPublished) renewed.push(name);
    }
  }
  // Last: it is what says that the rotation is done.
  changed.set('trusted_root.json', formatTrustedRoot(next));
  for (const [name, bytes] of changed) await diskFiles.write(trustPath(dataFolder, name), bytes);
  const { logKey } = entry;
  const signer = signerPath(dataFolder, service, instance);
  return {
    service,
    instance,
    keys,
    ...(chain === undefined ? {} : { chain }),
    ...((await isThere(signer)) ? { signer } : {}),
    changed: [...changed.keys()],
    ...(renewed.length === 0 ? {} : { renewed }),
    ...(logKey === undefined ? {} : { logKey }),
    ...(isAhead ? { unpublished: instances.length } : {}),
  };
}

/** A mistyped year would make void all that was ever signed, and ends are final. @throws TRUST_STOLEN_EARLY */
function checkStolenSince(service: Service, instances: readonly JsonObject[], stolenSinceMs: number): void {
  const startsMs = instances.map(startOf).filter((ms) => ms !== undefined);
  const firstMs = Math.min(...startsMs);
  if (startsMs.length === 0 || stolenSinceMs >= firstMs) return;
  const [expected, got] = [firstMs, stolenSinceMs].map(instant);
  throw TRUST.reject(
    'TRUST_STOLEN_EARLY',
    `expected a time from ${expected} on, when the service ${quote(service)} had its first key, got ${got}`,
  );
}

/** When the older keys of a service end. */
export interface Retired {
  /** The latest of their ends, milliseconds since 1970. */
  readonly endMs: number;
  /** False where each of them had an end already, and no later one: then no file was written. */
  readonly isNew: boolean;
  /** True where what is published says so, too. */
  readonly isPublished: boolean;
}

/**
 * Ends the periods of all keys of a service but the newest, which must be published, ten minutes from now; those that end sooner stay as
 * they are.
 * @throws TRUST_RETIRE_EARLY, and as `rotate`
 */
export function retire(registry: RotatedRegistry, service: Service): Promise<Retired> {
  return makingKeysAlone(registry.dataFolder, () => retireAlone(registry, service));
}

async function retireAlone(registry: RotatedRegistry, service: Service): Promise<Retired> {
  const { dataFolder, org, nowMs } = registry;
  const names = serviceNames(org);
  const root = await openTrustedRoot(dataFolder);
  const instances = instancesOf(root, service, names);
  const newest = instances.at(-1);
  if (instances.length < 2 || !(await isPublished(dataFolder, service, newest))) {
    const got = instances.length < 2 ? 'none' : 'a newest one that is not published';
    throw TRUST.reject('TRUST_RETIRE_EARLY', `expected a published key after older ones, got ${got}`);
  }
  const endMs = wholeSecond(nowMs) + RETIREMENT_DELAY_MS;
  const next = endOlder(root, service, names, endMs);
  const ended = instancesOf(next, service, names);
  const isAsIn = (other: JsonObject) =>
    JSON.stringify(instancesOf(other, service, names)) === JSON.stringify(ended);
  const isNew = !isAsIn(root);
  if (isNew) await diskFiles.write(trustPath(dataFolder, 'trusted_root.json'), formatTrustedRoot(next));
  const ends = ended.slice(0, -1).map((instance) => endOf(instance) ?? endMs);
  return { endMs: Math.max(...ends), isNew, isPublished: isAsIn(await publishedRoot(dataFolder)) };
}

/** The trusted root to change: the data folder's own, which may be ahead of what is published but never behind. */
async function openTrustedRoot(dataFolder: string): Promise<JsonObject> {
  const root = readTrustedRoot(await readFileOf(dataFolder, 'trusted_root.json'));
  checkKeepsAll(root, await publishedRoot(dataFolder));
  return root;
}

/** True of none too: there is nothing to publish. */
async function isPublished(
  dataFolder: string,
  service: Service,
  instance: JsonObject | undefined,
): Promise<boolean> {
  return instance === undefined || hasInstance(await publishedRoot(dataFolder), service, instance);
}

async function publishedRoot(dataFolder: string): Promise<JsonObject> {
  return readTrustedRoot(await readPublishedTarget(dataFolder, 'trusted_root.json'));
}

type Made = Pick<Rotated, 'keys' | 'chain'>;

const NOTHING_MADE: Made = { keys: [] };

/** Makes an instance's key, and its certificates, whole or not at all. */
async function makeKey(registry: RotatedRegistry, of: RotationOf, instance: number): Promise<Made> {
  const { dataFolder, signal } = registry;
  const { service } = of;
  if ('rootKey' in of || 'newRootFolder' in of) return makeAuthority(registry, of, instance);
  const path = keyPath(dataFolder, service, instance);
  // A mark without its key is a rotation that was broken off.
  await rm(unbegunPath(dataFolder, of.service, instance), { force: true });
  if (service === 'log') await createLogKey({ folder: dataFolder, instance });
  else {
    const mark = unbegunMark(dataFolder, of.service, instance);
    await writeNewFiles([mark, { path, text: newSigner().pem, secret: true }], signal);
  }
  return { keys: [path] };
}

/** The mark of a shard whose key a signer has, and was not made here. One that a server has begun since a rotation was broken off has none. */
async function allowBeginning(
  registry: RotatedRegistry,
  service: LogService,
  instance: number,
): Promise<void> {
  const { dataFolder, headFolder } = registry;
  const mark = unbegunMark(dataFolder, service, instance);
  if (!(await isThere(signerPath(dataFolder, service, instance))) || (await isThere(mark.path))) return;
  const firstOrigin = serviceNames(registry.org)[service];
  if (await hasBegunIn({ dataFolder, headFolder, service, firstOrigin, instance })) return;
  await writeNewFiles([mark]);
}

async function makeAuthority(
  { dataFolder, org, nowMs, signal }: RotatedRegistry,
  of: Extract<RotationOf, { readonly service: CertifiedService }>,
  instance: number,
): Promise<Made> {
  const { service } = of;
  const name = authorityName(serviceNames(org)[service], instance);
  const startMs = wholeSecond(nowMs);
  const root =
    'rootKey' in of
      ? await currentRoot(dataFolder, service, instance - 1, of.rootKey)
      : await issueRoot({ service, org, name, startMs });
  const elsewhere = await openSigner(dataFolder, service, instance);
  const made = elsewhere === undefined ? newSigner() : undefined;
  const { spki } = made?.signer ?? (elsewhere as P256Signer);
  const own = await issueOnline({ service, org, name, startMs, root, spki });
  if ('newRootFolder' in of) await checkNoRootKey(rootKeyPath(of.newRootFolder, service, instance));
  const chain = chainPath(dataFolder, service, instance);
  // Certificates without their key are a rotation that was broken off.
  await rm(chain, { force: true });
  const secrets: NewFile[] = [];
  if ('newRootFolder' in of && 'pem' in root) {
    const { newRootFolder, seal = (pem) => pem } = of;
    const text = seal(String(root.pem));
    secrets.push({ path: rootKeyPath(newRootFolder, service, instance), text, secret: true });
  }
  // The online key last: with it the instance is there.
  if (made !== undefined) {
    secrets.push({ path: keyPath(dataFolder, service, instance), text: made.pem, secret: true });
  }
  const certificates = { path: chain, text: [own, root.der].map(formatPem).join(''), secret: false };
  await writeNewFiles([certificates, ...secrets], signal);
  return { keys: secrets.map(({ path }) => path), chain };
}

/** A rotation that was broken off may have left the key of a root that nothing names; who made another one knows better than we. @throws CA_FILES_EXIST */
async function checkNoRootKey(path: string): Promise<void> {
  if (!(await isThere(path))) return;
  await removeLeftoversOf(path);
  throw TRUST.reject(
    'CA_FILES_EXIST',
    `expected no file ${quote(path)}, found one: if a rotation that was broken off made it, remove it, since no root with that key is in use`,
    { at: path },
  );
}

/** The root above an instance, with its key. @throws TRUST_ROOT_KEY_WRONG */
async function currentRoot(
  dataFolder: string,
  service: CertifiedService,
  instance: number,
  signer: P256Signer,
): Promise<Root & Pick<MadeRoot, 'der'>> {
  const chain = await readChain(dataFolder, service, instance);
  const der = chain.at(-1) as Uint8Array;
  const certificate = readCertificate(der) as AuthorityCertificate;
  if (Buffer.compare(certificate.spki, signer.spki) !== 0) {
    throw TRUST.reject(
      'TRUST_ROOT_KEY_WRONG',
      `expected the key of the root in ${quote(chainPath(dataFolder, service, instance))}, got another`,
    );
  }
  const { subject, keyIdentifier, notAfterMs } = certificate;
  return { signer, der, subject, keyIdentifier, notAfterMs };
}

/** The element of the trusted root for an instance whose key is there. */
async function entryOf(
  { dataFolder, org, nowMs }: RotatedRegistry,
  service: Service,
  instance: number,
): Promise<{ readonly json: Json; readonly logKey?: string }> {
  const names = serviceNames(org);
  const startMs = wholeSecond(nowMs);
  if (service === 'log') {
    const origin = shardOrigin('log', names.log, instance);
    const { publicKey } = await openLogKey({ folder: dataFolder, instance });
    const json = signatureLogEntry({ origin, publicKey, startMs });
    return { json, logKey: logVerifierKey(origin, publicKey) };
  }
  if (service === 'ct') {
    const { spki } = await openServiceKey(dataFolder, 'ct', instance);
    const origin = shardOrigin('ct', names.ct, instance);
    return { json: certificateLogEntry({ origin, spki, startMs }) };
  }
  const { chain } = await openAuthority(dataFolder, service, instance);
  const rootName = readCertificate(chain.at(-1) as Uint8Array)?.commonName ?? '';
  return { json: authorityEntry({ org, name: names[service], rootName, chain, startMs }) };
}
