// SPDX-License-Identifier: Apache-2.0
// The files of a build output as they lie on disk now [docs/spec/attest.md §Hashing again]. Statements only ever look
// into the list made here: no path out of a statement reaches the file system.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { quote } from '../core/faults.ts';
import { ATTEST } from './faults.ts';

/** A file that was hashed now. */
export interface HashedFile {
  /** Absolute or relative to the working directory: for opening. */
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Hashes one regular file. @throws ATTEST_FOLDER_INCOMPLETE, ATTEST_FILE_IRREGULAR */
export async function hashFile(folder: string, name: string): Promise<HashedFile> {
  const path = join(folder, name);
  const info = await entryOf(folder, name);
  if (!info.isFile()) throw irregular(name);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  return { path, sha256: hash.digest('hex'), sizeBytes };
}

/** Reads one small regular file and hashes the very bytes that it returns. @throws as `hashFile`, ATTEST_FILE_TOO_LARGE */
export async function readHashed(
  folder: string,
  name: string,
  sizeBytesMax: number,
): Promise<{ readonly file: HashedFile; readonly bytes: Uint8Array }> {
  const bytes = await readSmall(folder, name, sizeBytesMax);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { file: { path: join(folder, name), sha256, sizeBytes: bytes.length }, bytes };
}

/** What is read in one piece is looked at first: a file of gigabytes would fill the memory to be refused afterwards. */
async function readSmall(folder: string, name: string, sizeBytesMax: number): Promise<Uint8Array> {
  const info = await entryOf(folder, name);
  if (!info.isFile()) throw irregular(name);
  if (info.size > sizeBytesMax) {
    const message = `expected at most ${sizeBytesMax} bytes, got ${info.size}`;
    throw ATTEST.reject('ATTEST_FILE_TOO_LARGE', message, { at: name });
  }
  return new Uint8Array(await readFile(join(folder, name)));
}

/** Hashes every file below `folder/name`, keyed by its path below it with `/`. @throws as `hashFile` */
export async function hashTree(folder: string, name: string): Promise<ReadonlyMap<string, HashedFile>> {
  const files = new Map<string, HashedFile>();
  const walk = async (below: string): Promise<void> => {
    const info = await entryOf(folder, below);
    if (info.isFile()) {
      files.set(below.slice(name.length + 1), await hashFile(folder, below));
      return;
    }
    if (!info.isDirectory()) throw irregular(below);
    const names = await readdir(join(folder, below));
    for (const entry of names.sort()) await walk(`${below}/${entry}`);
  };
  const top = await entryOf(folder, name);
  if (!top.isDirectory()) throw irregular(name);
  await walk(name);
  return files;
}

/** Reads the small regular files of one flat folder, by name. @throws as `readHashed` */
export async function readFlat(
  folder: string,
  name: string,
  sizeBytesMax: number,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const top = await entryOf(folder, name);
  if (!top.isDirectory()) throw irregular(name);
  const files = new Map<string, Uint8Array>();
  for (const entry of (await readdir(join(folder, name))).sort()) {
    files.set(entry, await readSmall(folder, `${name}/${entry}`, sizeBytesMax));
  }
  return files;
}

/** lstat, so that a link is seen as a link: a linked output could change after it was hashed. */
async function entryOf(folder: string, name: string) {
  try {
    return await lstat(join(folder, name));
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    const message = `expected ${quote(name)} in the build output ${quote(folder)}, got ${reason}`;
    throw ATTEST.reject('ATTEST_FOLDER_INCOMPLETE', message, { cause });
  }
}

function irregular(name: string) {
  return ATTEST.reject('ATTEST_FILE_IRREGULAR', 'expected a regular file or folder, got something else', {
    at: name,
  });
}
