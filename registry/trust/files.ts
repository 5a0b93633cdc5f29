// SPDX-License-Identifier: Apache-2.0
// Keys and certificates on disk: written once, whole or not at all, never over another.

import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote } from '../../core/faults.ts';
import { syncFolder } from '../store/durable-files.ts';
import { TRUST } from '../trust-faults.ts';

/** A file to be made; private keys get mode 0600. */
export interface NewFile {
  readonly path: string;
  readonly text: string;
  readonly secret: boolean;
}

/**
 * Writes new files, all or none; a file that exists stays as it is.
 * @throws CA_FILES_EXIST, CA_FILES_UNWRITABLE
 */
export async function writeNewFiles(files: readonly NewFile[]): Promise<void> {
  const made: string[] = [];
  try {
    for (const file of files) {
      await writeNewFile(file);
      made.push(file.path);
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
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    if (reason === 'EEXIST') {
      throw TRUST.reject('CA_FILES_EXIST', `expected no file ${quote(path)}, found one`, { at: path });
    }
    throw TRUST.unavailable('CA_FILES_UNWRITABLE', `could not write ${quote(path)}: ${reason}`, { cause });
  } finally {
    await rm(beside, { force: true }).catch(() => undefined);
  }
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
