// SPDX-License-Identifier: Apache-2.0
// Private keys in files: PKCS#8 PEM [RFC7468 §10], mode 0600, never overwritten; public keys as SPKI PEM [RFC7468 §13].

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote, Rejection } from '../core/faults.ts';
import { RELEASE } from './faults.ts';

/** Ed25519 for TUF roles, ECDSA P-256 for statements (gate, device). */
export type KeyAlgorithm = 'ed25519' | 'p256';

/** A fresh private key. */
export function generateKey(algorithm: KeyAlgorithm): KeyObject {
  return algorithm === 'ed25519'
    ? generateKeyPairSync('ed25519').privateKey
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** `ed25519`, `p256`, or undefined for any other kind of key. */
export function algorithmOf(key: KeyObject): KeyAlgorithm | undefined {
  if (key.asymmetricKeyType === 'ed25519') return 'ed25519';
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'p256';
  return undefined;
}

/** SPKI PEM of a private or public key. */
export function publicKeyPem(key: KeyObject): string {
  const pub = key.type === 'private' ? createPublicKey(key) : key;
  return pub.export({ type: 'spki', format: 'pem' }).toString();
}

/** DER SubjectPublicKeyInfo of a private or public key. */
export function publicKeyDer(key: KeyObject): Uint8Array {
  const pub = key.type === 'private' ? createPublicKey(key) : key;
  return new Uint8Array(pub.export({ type: 'spki', format: 'der' }));
}

/**
 * Writes a private key, mode 0600, whole or not at all; never over a file that is there.
 * @throws CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE
 */
export async function writePrivateKey(path: string, key: KeyObject): Promise<void> {
  await writeNew(path, key.export({ type: 'pkcs8', format: 'pem' }), 0o600);
}

/** Where the public half of a key lies: `gate.pub` beside `gate.pem`. */
export function publicKeyPath(privatePath: string): string {
  return `${privatePath.replace(/\.pem$/, '')}.pub`;
}

/**
 * Writes a private key and its public half beside it, both or none; never over files that are there.
 * @throws CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE
 */
export async function writeKeyPair(path: string, key: KeyObject): Promise<void> {
  await writePrivateKey(path, key);
  try {
    await writeNew(publicKeyPath(path), publicKeyPem(key), 0o644);
  } catch (failure) {
    await rm(path, { force: true });
    throw failure;
  }
}

/** Unlike a rename, a hard link cannot replace a file that is already there, whoever else writes at the same moment. */
async function writeNew(path: string, content: string | Buffer, mode: number): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(beside, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(beside, path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EEXIST') throw cause;
      throw RELEASE.reject('CEREMONY_KEY_EXISTS', `expected no file at ${quote(path)}, found one`);
    });
  } catch (cause) {
    if (cause instanceof Rejection) throw cause;
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw RELEASE.unavailable('CEREMONY_KEY_UNWRITABLE', `could not write ${quote(path)}: ${reason}`, {
      cause,
    });
  } finally {
    // Nothing to remove where the folder could not be made.
    await rm(beside, { force: true }).catch(() => undefined);
  }
}

/** Reads a private key of the given kind. @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE */
export async function readPrivateKey(path: string, algorithm: KeyAlgorithm): Promise<KeyObject> {
  return readKey(path, algorithm, 'private', createPrivateKey);
}

/** Reads a public key of the given kind. @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE */
export async function readPublicKey(path: string, algorithm: KeyAlgorithm): Promise<KeyObject> {
  return readKey(path, algorithm, 'public', (pem) => {
    // createPublicKey would also derive it from a private key, which has no business in the place of a public one.
    if (!pem.includes('-----BEGIN PUBLIC KEY-----')) throw new TypeError('no public key');
    return createPublicKey(pem);
  });
}

/** Reads a key of either kind and half, to show it. @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE */
export async function readAnyKey(path: string): Promise<KeyObject> {
  const pem = await readPem(path);
  let key: KeyObject | undefined;
  try {
    key = pem.includes('PRIVATE KEY-----') ? createPrivateKey(pem) : createPublicKey(pem);
  } catch {
    // No cause: OpenSSL's text could quote the file.
    key = undefined;
  }
  if (key === undefined || algorithmOf(key) === undefined) {
    throw RELEASE.reject(
      'CEREMONY_KEY_UNSUITABLE',
      `expected an Ed25519 or ECDSA P-256 key in PEM in ${quote(path)}, got ${key?.asymmetricKeyType ?? 'something else'}`,
    );
  }
  return key;
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw RELEASE.reject('CEREMONY_KEY_UNREADABLE', `expected a key in ${quote(path)}, got ${reason}`, {
      cause,
    });
  }
}

async function readKey(
  path: string,
  algorithm: KeyAlgorithm,
  half: 'private' | 'public',
  parse: (pem: string) => KeyObject,
): Promise<KeyObject> {
  const pem = await readPem(path);
  const wanted = `an ${algorithm === 'ed25519' ? 'Ed25519' : 'ECDSA P-256'} ${half} key in PEM`;
  let key: KeyObject;
  try {
    key = parse(pem);
  } catch {
    // No cause: OpenSSL's text could quote the file.
    throw RELEASE.reject(
      'CEREMONY_KEY_UNSUITABLE',
      `expected ${wanted} in ${quote(path)}, got something else`,
    );
  }
  if (algorithmOf(key) !== algorithm) {
    const got = key.asymmetricKeyType ?? 'an unknown kind';
    throw RELEASE.reject('CEREMONY_KEY_UNSUITABLE', `expected ${wanted} in ${quote(path)}, got ${got}`);
  }
  return key;
}
