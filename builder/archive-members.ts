// SPDX-License-Identifier: Apache-2.0
// Files inside archives that an input brings unopened, as Debian's source packages do (/usr/src/NAME.tar.xz): a step unpacks them
// in its work folder, and what it compiles there must still be known for the input's.

import { createHash } from 'node:crypto';
import { Rejection } from '../core/faults.ts';
import { readTar } from './inputs/tar.ts';
import { decompress } from './inputs/unpack-archive.ts';
import { readZip } from './inputs/zip.ts';
import { HEAD_SIZE_BYTES, taggedLicence } from './licence.ts';

/** A regular file in an archive. */
export interface ArchiveMember {
  /** As the archive names it, without a leading `./`. */
  readonly path: string;
  readonly sha256: string;
  /** What its own SPDX tag says. */
  readonly licence?: string;
}

const NAME = /\.(?:tar|tar\.(?:gz|xz|bz2|zst)|tgz|txz|tbz2?|tzst|zip)$/;
/** What an archive unpacks to at most; of a larger one no member is known. */
const UNPACKED_SIZE_BYTES_MAX = 16 * 1024 ** 3;

/** True if a file's name is that of an archive whose members can be listed. */
export function isArchive(path: string): boolean {
  return NAME.test(path);
}

/**
 * The members of an archive on the host; none if it is no archive whatever its name says, is damaged, or unpacks to more than
 * `sizeBytesMax`. @throws SANDBOX_TOOL_MISSING
 */
export async function listMembers(
  file: string,
  sizeBytesMax = UNPACKED_SIZE_BYTES_MAX,
): Promise<ArchiveMember[]> {
  const members: ArchiveMember[] = [];
  let left = sizeBytesMax;
  try {
    for await (const { path, content } of filesOf(file)) {
      const hash = createHash('sha256');
      let head = Buffer.alloc(0);
      for await (const part of content) {
        left -= part.length;
        if (left < 0) return [];
        hash.update(part);
        if (head.length < HEAD_SIZE_BYTES) head = Buffer.concat([head, part.subarray(0, HEAD_SIZE_BYTES)]);
      }
      const licence = taggedLicence(head);
      members.push({ path, sha256: hash.digest('hex'), ...(licence === undefined ? {} : { licence }) });
    }
  } catch (failure) {
    if (!(failure instanceof Rejection)) throw failure;
    return [];
  }
  return members;
}

/** The bytes of one member; undefined if there is none. @throws INPUT_ARCHIVE_MALFORMED, SANDBOX_TOOL_MISSING */
export async function readMember(file: string, member: string): Promise<Buffer | undefined> {
  for await (const { path, content } of filesOf(file)) {
    if (path !== member) continue;
    const parts: Uint8Array[] = [];
    for await (const part of content) parts.push(part);
    return Buffer.concat(parts);
  }
  return undefined;
}

async function* filesOf(
  file: string,
): AsyncGenerator<{ readonly path: string; readonly content: AsyncIterable<Uint8Array> }> {
  const entries = file.endsWith('.zip') ? readZip(file, file) : readTar(decompress(file, file), file);
  for await (const { path, kind, content } of entries) {
    if (kind === 'file') yield { path: path.replace(/^(?:\.\/)+/, ''), content };
  }
}
