// SPDX-License-Identifier: Apache-2.0
// Private keys in files: PKCS#8 PEM [RFC7468 §10], encrypted where there is a passphrase [RFC7468 §11], mode 0600, never
// overwritten; public keys as SPKI PEM [RFC7468 §13].

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { access, link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { quote, Rejection } from '../core/faults.ts';
import { RELEASE } from './faults.ts';
import type { Passphrases } from './passphrase.ts';

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

/** PKCS#8 PEM; with a passphrase encrypted by AES-256-CBC under PBKDF2, which `openssl pkey` reads. */
export function formatPrivateKey(key: KeyObject, passphrase?: string): string {
  const form = { type: 'pkcs8', format: 'pem' } as const;
  const pem =
    passphrase === undefined ? key.export(form) : key.export({ ...form, cipher: 'aes-256-cbc', passphrase });
  return pem.toString();
}

/**
 * Writes a private key, mode 0600, whole or not at all; never over a file that is there.
 * @throws CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE
 */
export async function writePrivateKey(path: string, key: KeyObject, passphrase?: string): Promise<void> {
  await writeNew(path, formatPrivateKey(key, passphrase), 0o600);
}

/** Where the public half of a key lies: `gate.pub` beside `gate.pem`. */
export function publicKeyPath(privatePath: string): string {
  return `${privatePath.replace(/\.pem$/, '')}.pub`;
}

/**
 * Writes a private key and its public half beside it, both or none; never over files that are there. `signal` cancels until both are written.
 * @throws CEREMONY_KEY_EXISTS, CEREMONY_KEY_UNWRITABLE, and the signal's reason
 */
export async function writeKeyPair(
  path: string,
  key: KeyObject,
  passphrase?: string,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  await writePrivateKey(path, key, passphrase);
  try {
    signal?.throwIfAborted();
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
    await link(beside, path).catch(async (cause: NodeJS.ErrnoException) => {
      // Who was first removes what others have beside it.
      const isThere = cause.code === 'EEXIST' || (cause.code === 'ENOENT' && (await exists(path)));
      if (!isThere) throw cause;
      await removeLeftoversOf(path).catch(() => undefined);
      throw RELEASE.reject('CEREMONY_KEY_EXISTS', `expected no file at ${quote(path)}, found one`);
    });
    await removeLeftoversOf(path).catch(() => undefined);
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

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** What a write that was broken off left beside a file: a private key under another name, or one that nobody will come to know. */
async function removeLeftoversOf(path: string): Promise<void> {
  const [folder, name] = [dirname(path), basename(path)];
  for (const found of await readdir(folder)) {
    const isLeft = found.startsWith(name) && /^\.[0-9a-f]{12}\.new$/.test(found.slice(name.length));
    if (isLeft) await rm(join(folder, found), { force: true });
  }
}

/**
 * Reads a private key of the given kind; an encrypted one asks for its passphrase.
 * @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE, CEREMONY_PASSPHRASE_WRONG and what `passphrases` throws
 */
export async function readPrivateKey(
  path: string,
  algorithm: KeyAlgorithm,
  passphrases?: Passphrases,
): Promise<KeyObject> {
  const pem = await readPem(path);
  if (pem.includes('-----BEGIN PUBLIC KEY-----')) {
    throw RELEASE.reject(
      'CEREMONY_KEY_UNSUITABLE',
      `expected a private key in ${quote(path)}, got a public one; the private half is in a .pem file of its holder`,
    );
  }
  return checkKind(path, 'private', [algorithm], await parsePrivateKey(path, pem, passphrases));
}

/** Reads a public key of one of the given kinds. @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE */
export async function readPublicKey(path: string, ...algorithms: KeyAlgorithm[]): Promise<KeyObject> {
  const pem = await readPem(path);
  if (isPrivatePem(pem)) {
    throw RELEASE.reject(
      'CEREMONY_KEY_UNSUITABLE',
      `expected a public key in ${quote(path)}, got a private one; the public half is in the .pub file beside it`,
    );
  }
  return checkKind(path, 'public', algorithms, parsePublicKey(pem));
}

/**
 * Reads a key of either kind and half, to show it.
 * @throws CEREMONY_KEY_UNREADABLE, CEREMONY_KEY_UNSUITABLE, CEREMONY_PASSPHRASE_WRONG and what `passphrases` throws
 */
export async function readAnyKey(path: string, passphrases?: Passphrases): Promise<KeyObject> {
  const pem = await readPem(path);
  const isPrivate = isPrivatePem(pem);
  const key = isPrivate ? await parsePrivateKey(path, pem, passphrases) : parsePublicKey(pem);
  return checkKind(path, isPrivate ? 'private' : 'public', ['ed25519', 'p256'], key);
}

function isPrivatePem(pem: string): boolean {
  return pem.includes('PRIVATE KEY-----');
}

/** Undefined for what is no private key in PEM. */
async function parsePrivateKey(
  path: string,
  pem: string,
  passphrases: Passphrases | undefined,
): Promise<KeyObject | undefined> {
  if (!pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) return parsed(() => createPrivateKey(pem));
  if (passphrases === undefined) {
    throw RELEASE.reject(
      'CEREMONY_PASSPHRASE_MISSING',
      `expected a passphrase for the encrypted key in ${quote(path)}, got none`,
    );
  }
  const passphrase = await passphrases.ask(`the key ${quote(path)}`);
  const key = parsed(() => createPrivateKey({ key: pem, format: 'pem', passphrase }));
  if (key !== undefined) return key;
  throw RELEASE.reject(
    'CEREMONY_PASSPHRASE_WRONG',
    `expected the passphrase of the encrypted key in ${quote(path)}, got another`,
  );
}

/** Undefined for what is no public key: a private one has no business in its place, though its public half could be derived. */
function parsePublicKey(pem: string): KeyObject | undefined {
  return pem.includes('-----BEGIN PUBLIC KEY-----') ? parsed(() => createPublicKey(pem)) : undefined;
}

/** No cause: OpenSSL's text could quote the file. */
function parsed(parse: () => KeyObject): KeyObject | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
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

const KIND = { ed25519: 'Ed25519', p256: 'ECDSA P-256' } as const;

function checkKind(
  path: string,
  half: 'private' | 'public',
  algorithms: readonly KeyAlgorithm[],
  key: KeyObject | undefined,
): KeyObject {
  const found = key === undefined ? undefined : algorithmOf(key);
  if (key !== undefined && found !== undefined && algorithms.includes(found)) return key;
  const wanted = algorithms.map((algorithm) => KIND[algorithm]).join(' or ');
  const got = key?.asymmetricKeyType ?? 'something else';
  throw RELEASE.reject(
    'CEREMONY_KEY_UNSUITABLE',
    `expected a ${half} key (${wanted}, PEM) in ${quote(path)}, got ${got}`,
  );
}
