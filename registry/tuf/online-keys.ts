// SPDX-License-Identifier: Apache-2.0
// The two TUF roles that the server signs by itself [TUF-1.0.34 §4.4, §4.6]: Ed25519 keys for snapshot and timestamp. They say
// which versions belong together and that they are fresh; they cannot name a target.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { join } from 'node:path';
import { type Metadata, type Root, Signature, type Snapshot, type Timestamp } from '@tufjs/models';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { diskFiles } from '../store/durable-files.ts';
import { STORE } from '../store-faults.ts';
import { checkKeyMode, type NewFile, writeNewFiles } from '../trust/files.ts';
import { ed25519KeyId } from './role-document.ts';

/** A key of one online role. */
export interface OnlineKey {
  /** Key id [TUF-1.0.34 §4.2]: SHA-256 of the canonical JSON of the public key. */
  readonly keyId: string;
  readonly key: KeyObject;
}

/** The two keys that sign. */
export interface OnlineKeys {
  readonly snapshot: OnlineKey;
  readonly timestamp: OnlineKey;
}

const ROLES = ['snapshot', 'timestamp'] as const;
type OnlineRole = (typeof ROLES)[number];

/** All keys that the server holds, the newest first: the one in force, one staged for the next root, retired ones. */
export type HeldKeys = Readonly<Record<OnlineRole, readonly OnlineKey[]>>;

/** Files that were made. */
export interface NewOnlineKey {
  readonly path: string;
  /** SPKI PEM. */
  readonly publicKey: string;
}

/**
 * Makes the next key of both roles in `folder` (PKCS#8 PEM, mode 0600): `tuf-snapshot.pem`, then `tuf-snapshot-2.pem` and so on.
 * A key signs from the moment on that a root names it, which is what their public halves are for: none is ever overwritten.
 * @throws CA_FILES_EXIST if another process makes them too, CA_FILES_UNWRITABLE, REGISTRY_STORE_FAILED
 */
export async function createTufOnlineKeys(options: {
  readonly folder: string;
  readonly signal?: AbortSignal | undefined;
}): Promise<Readonly<Record<OnlineRole, NewOnlineKey>>> {
  const make = async (role: OnlineRole): Promise<NewOnlineKey & NewFile> => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const last = (await keyFiles(options.folder, role))[0]?.number ?? 0;
    const path = join(options.folder, last === 0 ? `tuf-${role}.pem` : `tuf-${role}-${last + 1}.pem`);
    const text = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    return {
      path,
      text,
      secret: true,
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    };
  };
  const made = { snapshot: await make('snapshot'), timestamp: await make('timestamp') };
  await writeNewFiles(Object.values(made), options.signal);
  const show = ({ path, publicKey }: NewOnlineKey): NewOnlineKey => ({ path, publicKey });
  return { snapshot: show(made.snapshot), timestamp: show(made.timestamp) };
}

/** The key files of a role, the newest first. `tuf-snapshot.pem` is number 1. */
async function keyFiles(folder: string, role: OnlineRole) {
  const form = new RegExp(`^tuf-${role}(?:-([1-9][0-9]{0,8}))?\\.pem$`);
  return (await diskFiles.list(folder))
    .map((name) => ({ name, match: form.exec(name) }))
    .flatMap(({ name, match }) => (match === null ? [] : [{ name, number: Number(match[1] ?? 1) }]))
    .sort((a, b) => b.number - a.number);
}

/** Reads all keys of both roles. @throws CA_KEY_EXPOSED, REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED, REGISTRY_STORE_FAILED */
export async function openTufOnlineKeys(folder: string): Promise<HeldKeys> {
  const read = async (role: OnlineRole): Promise<readonly OnlineKey[]> => {
    const files = await keyFiles(folder, role);
    const names = files.length === 0 ? [`tuf-${role}.pem`] : files.map(({ name }) => name);
    return Promise.all(names.map((name) => openKey(join(folder, name))));
  };
  return { snapshot: await read('snapshot'), timestamp: await read('timestamp') };
}

/** The newest of the held keys that a root names, each as the only one that its role needs; undefined if one lacks. */
export function keysNamedBy(root: Root, held: HeldKeys): OnlineKeys | undefined {
  const find = (role: OnlineRole): OnlineKey | undefined => {
    const listed = root.roles[role];
    if (listed?.threshold !== 1) return undefined;
    return held[role].find(({ keyId }) => listed.keyIDs.includes(keyId));
  };
  const [snapshot, timestamp] = [find('snapshot'), find('timestamp')];
  return snapshot === undefined || timestamp === undefined ? undefined : { snapshot, timestamp };
}

async function openKey(path: string): Promise<OnlineKey> {
  await checkKeyMode(path);
  const pem = await diskFiles.read(path);
  if (pem === undefined)
    throw STORE.reject('REGISTRY_DATA_MISSING', `expected a key file ${quote(path)}, found none`);
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(Buffer.from(pem));
  } catch {
    // No cause: OpenSSL's text could quote the file.
    key = undefined;
  }
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw STORE.reject(
      'REGISTRY_DATA_DAMAGED',
      `expected an Ed25519 private key in ${quote(path)}, got something else`,
    );
  }
  return { keyId: keyIdOf(key), key };
}

function keyIdOf(key: KeyObject): string {
  const raw = createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32);
  return ed25519KeyId(raw.toString('hex'));
}

/** Signs an online role and returns the bytes of its file. */
export function signOnline(metadata: Metadata<Snapshot> | Metadata<Timestamp>, key: OnlineKey): Uint8Array {
  metadata.sign(
    (data) => new Signature({ keyID: key.keyId, sig: sign(null, data, key.key).toString('hex') }),
  );
  return utf8(`${JSON.stringify(metadata.toJSON())}\n`);
}
