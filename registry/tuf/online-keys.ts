// SPDX-License-Identifier: Apache-2.0
// The two TUF roles that the server signs by itself [TUF-1.0.34 §4.4, §4.6]: Ed25519 keys for snapshot and timestamp. They say
// which versions belong together and that they are fresh; they cannot name a target.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { join } from 'node:path';
import { type Metadata, Signature, type Snapshot, type Timestamp } from '@tufjs/models';
import { utf8 } from '../../core/encoding/utf8.ts';
import { quote } from '../../core/faults.ts';
import { diskFiles } from '../store/durable-files.ts';
import { STORE } from '../store-faults.ts';
import { ed25519KeyId } from './role-document.ts';

/** A key of one online role. */
export interface OnlineKey {
  /** Key id [TUF-1.0.34 §4.2]: SHA-256 of the canonical JSON of the public key. */
  readonly keyId: string;
  readonly key: KeyObject;
}

export interface OnlineKeys {
  readonly snapshot: OnlineKey;
  readonly timestamp: OnlineKey;
}

const FILES = { snapshot: 'tuf-snapshot.pem', timestamp: 'tuf-timestamp.pem' } as const;

/**
 * Makes both keys in `folder` (PKCS#8 PEM, mode 0600) and returns their public halves as SPKI PEM, which the key ceremony
 * writes into root. @throws REGISTRY_STORE_FAILED
 */
export async function createTufOnlineKeys(options: {
  readonly folder: string;
}): Promise<{ readonly snapshot: string; readonly timestamp: string }> {
  const make = async (role: keyof typeof FILES): Promise<string> => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await diskFiles.write(join(options.folder, FILES[role]), pem, 0o600);
    return publicKey.export({ type: 'spki', format: 'pem' }).toString();
  };
  return { snapshot: await make('snapshot'), timestamp: await make('timestamp') };
}

/** Reads both keys. @throws REGISTRY_DATA_MISSING, REGISTRY_DATA_DAMAGED */
export async function openTufOnlineKeys(folder: string): Promise<OnlineKeys> {
  return {
    snapshot: await openKey(join(folder, FILES.snapshot)),
    timestamp: await openKey(join(folder, FILES.timestamp)),
  };
}

async function openKey(path: string): Promise<OnlineKey> {
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
