// SPDX-License-Identifier: Apache-2.0
// Keys and certificates on disk: written once, whole or not at all, never over another.

import { randomBytes } from 'node:crypto';
import { access, constants, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote } from '../../core/faults.ts';
import { removeLeftoversOf, syncFolder } from '../store/durable-files.ts';
import { TRUST } from '../trust-faults.ts';
import { isThere } from './instances.ts';

/** A file to be made; private keys get mode 0600. */
export interface NewFile {
  readonly path: string;
  readonly text: string;
  readonly secret: boolean;
}

/**
 * Writes new files, all or none; a file that exists stays as it is. `signal` cancels until the last is written.
 * @throws CA_FILES_EXIST, CA_FILES_UNWRITABLE, and the signal's reason
 */
export async function writeNewFiles(files: readonly NewFile[], signal?: AbortSignal): Promise<void> {
  const made: string[] = [];
  try {
    for (const file of files) {
      await writeNewFile(file);
      made.push(file.path);
      signal?.throwIfAborted();
    }
  } catch (failure) {
    for (const path of made) await rm(path, { force: true });
    throw failure;
  }
}

async function writeNewFile({ path, text, secret }: NewFile): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: secret ? 0o700 : 0o755 });
    const file = await open(beside, 'wx', secret ? 0o600 : 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    // Unlike a rename, a link never replaces what is there.
    await link(beside, path);
    // A trusted root that names a key must not outlive it.
    await syncFolder(dirname(path));
    // Of one that was broken off: it may be the key under another name, or one that nobody will come to know.
    await removeLeftoversOf(path).catch(() => undefined);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    // Who was first removes what others have beside it.
    if (reason === 'EEXIST' || (reason === 'ENOENT' && (await isThere(path)))) {
      await removeLeftoversOf(path).catch(() => undefined);
      throw TRUST.reject('CA_FILES_EXIST', `expected no file ${quote(path)}, found one`, { at: path });
    }
    throw TRUST.unavailable('CA_FILES_UNWRITABLE', `could not write ${quote(path)}: ${reason}`, { cause });
  } finally {
    await rm(beside, { force: true }).catch(() => undefined);
  }
}

/**
 * Refuses a file of a private key, or of another secret, that others than its owner may read or change [docs/operating.md §Keys]. Its group
 * may read what belongs to root: so are secrets given to a service that is not root. @throws CA_KEY_EXPOSED
 */
export async function checkKeyMode(path: string, what = 'a private key'): Promise<void> {
  const found = await modeOf(path);
  if (found === undefined || (found.mode & ~(found.isRoots ? 0o740 : 0o700)) === 0) return;
  const expected = found.isRoots ? '0600, or 0640 for a group,' : '0600';
  throw exposed(path, `expected ${what} of mode ${expected} in ${quote(path)}`, found.mode);
}

/**
 * Refuses a file or folder that is no secret, and that others than its owner may change: what names a signer, and the folder of the keys.
 * @throws CA_KEY_EXPOSED
 */
export async function checkOwnerWrites(path: string, what: string): Promise<void> {
  const found = await modeOf(path);
  if (found === undefined || (found.mode & 0o022) === 0) return;
  // Mounted so that nobody can write, whatever the mode says: so are the secrets of Kubernetes.
  const isReadOnly = await access(path, constants.W_OK).then(
    () => false,
    (cause: NodeJS.ErrnoException) => cause.code === 'EROFS',
  );
  if (isReadOnly) return;
  throw exposed(path, `expected ${what}, ${quote(path)}, that its owner alone may change`, found.mode);
}

/** The mode of a file and whether it is root's; undefined if that cannot be said. */
async function modeOf(path: string) {
  // Whoever reads it says what else is wrong. Windows has no modes.
  const found = process.platform === 'win32' ? undefined : await stat(path).catch(() => undefined);
  return found && { mode: found.mode & 0o777, isRoots: found.uid === 0 };
}

function exposed(path: string, expected: string, mode: number): Error {
  const got = mode.toString(8).padStart(4, '0');
  return TRUST.reject('CA_KEY_EXPOSED', `${expected}, got ${got}`, { at: path });
}

/** Reads a file that holds a private key. @throws CA_FILES_UNREADABLE, CA_KEY_EXPOSED */
export async function readKeyFile(path: string): Promise<string> {
  await checkKeyMode(path);
  return readTrustFile(path);
}

/** Reads a key or certificate file. @throws CA_FILES_UNREADABLE */
export async function readTrustFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw TRUST.reject('CA_FILES_UNREADABLE', `expected a readable file ${quote(path)}, got ${reason}`, {
      cause,
    });
  }
}
