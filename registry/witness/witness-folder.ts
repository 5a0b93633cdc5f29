// SPDX-License-Identifier: Apache-2.0
// The folder of a witness [docs/spec/witness.md §Folder]: its key, a file for each log with what was cosigned last, and a lock.
// Whatever in it is not as a witness writes it keeps the witness from starting.

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Level } from 'level';
import { hexEncode } from '../../core/encoding/hex.ts';
import { utf8, utf8Decode } from '../../core/encoding/utf8.ts';
import { quote, Rejection } from '../../core/faults.ts';
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts';
import {
  ECDSA_NOTE,
  ED25519_COSIGNATURE,
  ED25519_NOTE,
  formatVerifierKey,
  isKeyName,
  noteKeyId,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
} from '../../core/tlog/note.ts';
import { nodeCrypto } from '../../peers/node-crypto.ts';
import { type DurableFiles, diskFiles, removeLeftovers, syncFolder } from '../store/durable-files.ts';
import { isDamaged, isHeld, openFailure, openLevelFolder } from '../store/level-folder.ts';
import { checkKeyMode } from '../trust/files.ts';
import { WITNESS } from '../witness-faults.ts';
import { verifyLogNote, type WitnessedLog, type WitnessedTree } from './decision.ts';

const KEY_FILE = 'key.pem';
const VKEY_FILE = 'vkey';
const LOGS = 'logs';

/** Who cosigns. */
export interface WitnessKey {
  readonly key: VerifierKey;
  readonly privateKey: KeyObject;
}

/** The name of a log's file, and of its checkpoint for monitors: lower-case hex of SHA-256(origin). */
export function originHash(origin: string): string {
  return hexEncode(nodeCrypto.sha256(utf8(origin)));
}

/**
 * Makes the folder of a new witness, whole or not at all; returns its verifier key.
 * @throws WITNESS_NAME_MALFORMED, WITNESS_FOLDER_NOT_EMPTY, REGISTRY_STORE_FAILED
 */
export async function createWitness(folder: string, name: string): Promise<string> {
  if (name.length > 255 || !isKeyName(name) || /\p{C}/u.test(name)) {
    throw WITNESS.reject('WITNESS_NAME_MALFORMED', `expected the name of a key, got ${quote(name)}`);
  }
  const place = resolve(folder);
  const names = await readdir(place).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw notEmpty(`expected a new folder at ${quote(place)}, got ${cause.code}`);
  });
  if (names.length > 0)
    throw notEmpty(`expected a new or empty folder, got ${quote(place)} with files in it`);
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = rawPublicKey(privateKey);
  const keyId = noteKeyId(name, ED25519_COSIGNATURE, publicKey, nodeCrypto);
  const vkey = formatVerifierKey({ name, keyId, type: ED25519_COSIGNATURE, publicKey });
  const beside = `${place}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(join(beside, LOGS), { recursive: true, mode: 0o700 });
    const pem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await diskFiles.write(join(beside, KEY_FILE), pem, 0o600);
    await diskFiles.write(join(beside, VKEY_FILE), `${vkey}\n`);
    await rename(beside, place).catch((cause: NodeJS.ErrnoException) => {
      throw notEmpty(`could not move the folder to ${quote(place)}: ${cause.code}`);
    });
    await syncFolder(join(place, '..'));
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
  return vkey;
}

function notEmpty(message: string): Rejection {
  return WITNESS.reject('WITNESS_FOLDER_NOT_EMPTY', message);
}

function rawPublicKey(privateKey: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).subarray(-32));
}

/** One process's hold on the folder of a witness. */
export class WitnessFolder {
  readonly #folder: string;
  readonly #lock: Level<string, Uint8Array>;
  readonly #files: DurableFiles;
  readonly key: WitnessKey;

  private constructor(folder: string, lock: Level<string, Uint8Array>, files: DurableFiles, key: WitnessKey) {
    this.#folder = folder;
    this.#lock = lock;
    this.#files = files;
    this.key = key;
  }

  /**
   * Takes hold of the folder until `close`.
   * @throws WITNESS_DATA_MISSING, CA_KEY_EXPOSED, WITNESS_DATA_LOCKED, WITNESS_DATA_DAMAGED, REGISTRY_DATA_MISSING, REGISTRY_FOLDER_MOUNTED, REGISTRY_STORE_FAILED
   */
  static async open(folder: string, files: DurableFiles = diskFiles): Promise<WitnessFolder> {
    const [pem, vkey] = await Promise.all([
      files.read(join(folder, KEY_FILE)),
      files.read(join(folder, VKEY_FILE)),
    ]);
    if (pem === undefined || vkey === undefined) {
      const missing = join(folder, pem === undefined ? KEY_FILE : VKEY_FILE);
      throw WITNESS.reject('WITNESS_DATA_MISSING', `expected the file ${quote(missing)}, found none`);
    }
    await checkKeyMode(join(folder, KEY_FILE));
    const key = readKey(folder, pem, vkey);
    const place = join(folder, 'lock');
    const lock = await openLevelFolder(place).catch((cause: Error) => {
      if (isHeld(cause)) {
        throw WITNESS.unavailable('WITNESS_DATA_LOCKED', `expected ${quote(folder)} to be free, got a lock`);
      }
      if (isDamaged(cause))
        throw damaged(
          place,
          'expected a lock; this one holds nothing and can be removed while no witness runs',
        );
      throw cause instanceof Rejection ? cause : openFailure(place, cause);
    });
    return new WitnessFolder(folder, lock, files, key);
  }

  close(): Promise<void> {
    return this.#lock.close();
  }

  /** Every log by its origin. @throws WITNESS_DATA_DAMAGED, REGISTRY_STORE_FAILED */
  async readLogs(): Promise<Map<string, WitnessedLog>> {
    const folder = join(this.#folder, LOGS);
    await removeLeftovers(folder);
    const logs = new Map<string, WitnessedLog>();
    for (const name of await this.#files.list(folder)) {
      const path = join(folder, name);
      const log = readLogFile((await this.#files.read(path)) ?? new Uint8Array(), name, path);
      logs.set(log.key.name, log);
    }
    return logs;
  }

  /** Adds a log of which nothing was cosigned. @throws WITNESS_LOG_KEY_UNSUITABLE, WITNESS_LOG_KNOWN, WITNESS_DATA_DAMAGED, REGISTRY_STORE_FAILED */
  async addLog(vkey: string): Promise<VerifierKey> {
    const key = readLogKey(vkey);
    if ((await this.readLogs()).has(key.name)) {
      throw WITNESS.reject('WITNESS_LOG_KNOWN', `expected a new log, got ${quote(key.name)}`);
    }
    await this.#files.write(this.#pathOf(key), `${formatVerifierKey(key)}\n`);
    return key;
  }

  /** Makes a tree the last one that was cosigned; durable when it resolves. @throws REGISTRY_STORE_FAILED */
  keep(key: VerifierKey, tree: WitnessedTree): Promise<void> {
    return this.#files.write(this.#pathOf(key), `${formatVerifierKey(key)}\n\n${tree.note}`);
  }

  #pathOf(key: VerifierKey): string {
    return join(this.#folder, LOGS, originHash(key.name));
  }
}

/** @throws WITNESS_DATA_DAMAGED */
function readKey(folder: string, pem: Uint8Array, vkeyFile: Uint8Array): WitnessKey {
  const at = join(folder, VKEY_FILE);
  let privateKey: KeyObject | undefined;
  try {
    privateKey = createPrivateKey(Buffer.from(pem));
  } catch {
    // The parser's own words could repeat parts of the key.
  }
  if (privateKey?.asymmetricKeyType !== 'ed25519') {
    throw damaged(join(folder, KEY_FILE), 'expected an Ed25519 private key');
  }
  const line = /^([^\n]+)\n$/.exec(utf8Decode(vkeyFile) ?? '')?.[1];
  if (line === undefined) throw damaged(at, 'expected one line');
  const key = orDamaged(at, () => parseVerifierKey(line, nodeCrypto));
  if (key.type !== ED25519_COSIGNATURE || Buffer.compare(key.publicKey, rawPublicKey(privateKey)) !== 0) {
    throw damaged(at, `expected the cosigning half of ${KEY_FILE}, got another key`);
  }
  return { key, privateKey };
}

/** @throws WITNESS_LOG_KEY_UNSUITABLE */
function readLogKey(vkey: string): VerifierKey {
  let key: VerifierKey;
  try {
    key = parseVerifierKey(vkey, nodeCrypto);
  } catch (cause) {
    throw WITNESS.reject('WITNESS_LOG_KEY_UNSUITABLE', (cause as Rejection).message, { cause });
  }
  if (key.type !== ED25519_NOTE && key.type !== ECDSA_NOTE) {
    throw WITNESS.reject(
      'WITNESS_LOG_KEY_UNSUITABLE',
      `expected a key of type ${ED25519_NOTE} or ${ECDSA_NOTE}, got type ${key.type}`,
    );
  }
  return key;
}

/** @throws WITNESS_DATA_DAMAGED */
function readLogFile(bytes: Uint8Array, name: string, path: string): WitnessedLog {
  const text = utf8Decode(bytes) ?? '';
  const end = text.indexOf('\n');
  const rest = text.slice(end + 1);
  if (end < 0 || (rest !== '' && !rest.startsWith('\n'))) {
    throw damaged(path, 'expected the key of a log, then nothing or an empty line and a checkpoint');
  }
  return orDamaged(path, () => {
    const key = readLogKey(text.slice(0, end));
    if (originHash(key.name) !== name) throw damaged(path, `expected the file of ${quote(key.name)}`);
    if (rest === '') return { key };
    const signed = verifyLogNote(parseNote(rest.slice(1)), key, nodeCrypto);
    const { origin, size, rootHash } = parseCheckpoint(signed.text);
    if (origin !== key.name) throw damaged(path, `expected a checkpoint of ${quote(key.name)}`);
    return { key, latest: { size, rootHash, note: signed.note } };
  });
}

function orDamaged<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw damaged(path, (cause as Rejection).message);
  }
}

function damaged(path: string, message: string): Rejection {
  return WITNESS.reject('WITNESS_DATA_DAMAGED', message, { at: path });
}
