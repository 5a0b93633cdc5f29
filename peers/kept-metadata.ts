// SPDX-License-Identifier: Apache-2.0
// Verified metadata that a TUF client keeps between runs [TUF-1.0.34 §5.1]: rollback protection lives there. Each file is
// written beside, synced and renamed, so that a power cut leaves the old or the new one.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { PEERS } from './faults.ts';

/** The kept bytes of a role; undefined if none were kept. @throws TUF_STATE_UNWRITABLE */
export async function readKept(folder: string, role: string): Promise<Uint8Array | undefined> {
  try {
    return new Uint8Array(await readFile(join(folder, fileName(role))));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined;
    throw PEERS.unavailable(
      'TUF_STATE_UNWRITABLE',
      `could not read from ${quote(folder)}: ${errnoOf(cause)}`,
      { cause },
    );
  }
}

/** Keeps the verified bytes of a role. @throws TUF_STATE_UNWRITABLE */
export async function writeKept(folder: string, role: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, fileName(role));
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(folder, { recursive: true });
    await writeSynced(beside, bytes);
    await rename(beside, path);
    await syncFolder(folder);
  } catch (cause) {
    // On a full disk every attempt would leave it fuller.
    await rm(beside, { force: true }).catch(() => undefined);
    throw PEERS.unavailable(
      'TUF_STATE_UNWRITABLE',
      `could not write to ${quote(folder)}: ${errnoOf(cause)}`,
      { cause },
    );
  }
}

function fileName(role: string): string {
  // A role's name is foreign text: encoded, it cannot leave the folder.
  return `${encodeURIComponent(role).replace(/\./g, '%2E')}.json`;
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o644);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function errnoOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? 'unknown';
}
