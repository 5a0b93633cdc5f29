// SPDX-License-Identifier: Apache-2.0
// The key of the signature log: Ed25519, made once by `waybill init` [C2SP-signed-note-v1.0.0 §Ed25519 signatures].

import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { quote } from '../../core/faults.ts';
import { ED25519_NOTE, formatVerifierKey, noteKeyHash, noteKeyId } from '../../core/tlog/note.ts';
import { LOG } from '../log-faults.ts';
import { openSigner } from '../signer/signer-client.ts';
import { readKeyFile, writeNewFiles } from '../trust/files.ts';
import { keyPath } from '../trust/instances.ts';
import { type KeylessRule, openInstances } from '../trust/open-instances.ts';
import { signerFromEd25519Pem } from '../trust/signer.ts';
import { unbegunMark } from '../trust/unbegun.ts';
import { nodeHasher } from './hash-tiles.ts';

/** Signs checkpoints. */
export interface LogSigner {
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes over the text [RFC8032 §5.1.6]. @throws SIGNER_* if the key is elsewhere */
  sign(text: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** As of `P256Signer`. */
  readonly checkReachable?: () => Promise<void>;
}

/** Which key: the first of the data folder unless told otherwise. */
interface LogKeyPlace {
  readonly folder: string;
  readonly instance?: number;
}

/**
 * Makes the key of a new log or shard in `keys/` of the data folder, mode 0600, and the mark by which it may begin; returns the
 * public key, 32 raw bytes.
 * @throws CA_FILES_EXIST, CA_FILES_UNWRITABLE
 */
export async function createLogKey({ folder, instance }: LogKeyPlace): Promise<Uint8Array> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const text = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeNewFiles([
    unbegunMark(folder, 'log', instance),
    { path: keyPath(folder, 'log', instance), text: String(text), secret: true },
  ]);
  return rawPublicKey(privateKey);
}

/**
 * Opens the keys of all shards, oldest first.
 * @param rule which shards may be opened without their keys @throws CA_FILES_UNREADABLE, LOG_KEY_UNREADABLE, SIGNER_*
 */
export function openLogKeys(folder: string, rule: KeylessRule): Promise<readonly LogSigner[]> {
  return openInstances(
    folder,
    'log',
    (instance) => openLogKey({ folder, instance }),
    rule,
    async (instance, refusing) => {
      const spki = rule.named.logKey('log', instance);
      return spki && { publicKey: spki.subarray(-32), ...refusing };
    },
  );
}

/** Opens a key of a data folder, here or in a signer of its own. @throws CA_FILES_UNREADABLE, CA_KEY_EXPOSED, LOG_KEY_UNREADABLE, SIGNER_* */
export async function openLogKey({ folder, instance = 1 }: LogKeyPlace): Promise<LogSigner> {
  const elsewhere = await openSigner(folder, 'log', instance);
  if (elsewhere !== undefined) return { ...elsewhere, publicKey: elsewhere.spki.subarray(-32) };
  const path = keyPath(folder, 'log', instance);
  // The parser's own words could repeat parts of the file.
  const key = signerFromEd25519Pem(await readKeyFile(path));
  if (key === undefined) {
    throw LOG.reject('LOG_KEY_UNREADABLE', `expected an Ed25519 private key in ${quote(path)}`, { at: path });
  }
  return { publicKey: key.spki.subarray(-32), sign: key.sign };
}

function rawPublicKey(privateKey: KeyObject): Uint8Array {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return new Uint8Array(spki.subarray(spki.length - 32));
}

/** The verifier key of a log, `name+hash+key` [C2SP-signed-note-v1.0.0 §Verifier keys]. */
export function logVerifierKey(origin: string, publicKey: Uint8Array): string {
  const keyId = noteKeyId(origin, ED25519_NOTE, publicKey, nodeHasher);
  return formatVerifierKey({ name: origin, keyId, type: ED25519_NOTE, publicKey });
}

/** The log id of Rekor v2: all 32 bytes of the hash whose first four are the key id. */
export function logId(origin: string, publicKey: Uint8Array): Uint8Array {
  return noteKeyHash(origin, ED25519_NOTE, publicKey, nodeHasher);
}
