// SPDX-License-Identifier: Apache-2.0
// The image that a command is about: a file, hashed as it is read, or a digest alone.

import { createHash } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { hexDecode } from '../core/encoding/hex.ts';
import { quote } from '../core/faults.ts';
import { CLI } from './faults.ts';
import { readPieces } from './files.ts';

/** An image file by digest and size; the body is read again when it is sent. */
export interface ImageFile {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly body: Blob;
}

/** The digest in `sha256:<64 hex digits>`; `what` it is of, for the message. @throws CLI_USAGE */
export function readDigest(text: string, what: string): string {
  const digest = text.startsWith('sha256:') ? text.slice('sha256:'.length) : '';
  if (hexDecode(digest)?.length !== 32) {
    throw CLI.reject(
      'CLI_USAGE',
      `expected ${what} as sha256: and 64 lower-case hex digits, got ${quote(text)}`,
    );
  }
  return digest;
}

/** How often it is said how far the reading of an image is. */
const PROGRESS_MS = 1000;

/** Hashes an image file of any size. @throws CLI_FILE_UNREADABLE */
export async function readImage(path: string, progress?: (text: string) => void): Promise<ImageFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  let saidMs = performance.now();
  for await (const piece of readPieces(path)) {
    hash.update(piece);
    sizeBytes += piece.length;
    if (performance.now() - saidMs < PROGRESS_MS) continue;
    saidMs = performance.now();
    progress?.(`read ${Math.floor(sizeBytes / 2 ** 20)} MiB of ${quote(path)}`);
  }
  try {
    return { sha256: hash.digest('hex'), sizeBytes, body: await openAsBlob(path) };
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw CLI.reject('CLI_FILE_UNREADABLE', `expected a readable file ${quote(path)}, got ${reason}`, {
      cause,
    });
  }
}

/** The digest of `--image`: given as `sha256:…`, or of the file named. @throws CLI_USAGE, CLI_FILE_UNREADABLE */
export async function imageDigest(image: string): Promise<string> {
  return image.startsWith('sha256:') ? readDigest(image, 'the image') : (await readImage(image)).sha256;
}
