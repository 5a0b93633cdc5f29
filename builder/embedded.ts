// SPDX-License-Identifier: Apache-2.0
// Files of inputs whose bytes stand in an image as they are, whole: what .incbin, objcopy or a merging tool put there.

import { closeSync, lstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { type EvidenceStep, listFiles } from './input-files.ts';
import { findTelling, type ImageRange } from './placement.ts';

/** The shortest file whose bytes in an image prove that it was put there. */
export const EMBEDDED_SIZE_BYTES_MIN = 16;

/** A file that the image holds. */
export interface EmbeddedFile extends ImageRange {
  /** A step that saw it, and where: an absolute path in its sandbox. */
  readonly step: string;
  readonly path: string;
}

/** Every file of a mounted input or a `source` package that is in the image whole, each once. */
export function findEmbedded(image: Buffer, steps: readonly EvidenceStep[]): EmbeddedFile[] {
  const words = new WordSet(image);
  const found: EmbeddedFile[] = [];
  for (const { step, path, host } of candidates(steps)) {
    const offset = offsetOf(host, image, words);
    if (offset !== undefined) found.push({ step, path, ...offset });
  }
  return found;
}

interface Candidate {
  readonly step: string;
  readonly path: string;
  readonly host: string;
}

function* candidates(steps: readonly EvidenceStep[]): Generator<Candidate> {
  const seen = new Set<string>();
  const isNew = (folder: string) => !seen.has(folder) && seen.add(folder) !== undefined;
  for (const { name: step, mounted, root, sourcePackages } of steps) {
    for (const { name, folder } of mounted) {
      if (!isNew(folder)) continue;
      for (const path of listFiles(folder))
        yield { step, path: `/inputs/${name}/${path}`, host: join(folder, path) };
    }
    if (!isNew(root.folder)) continue;
    for (const [path, owner] of root.owners) {
      if (sourcePackages.has(owner.name)) yield { step, path: `/${path}`, host: join(root.folder, path) };
    }
  }
}

function offsetOf(host: string, image: Buffer, words: WordSet): ImageRange | undefined {
  const { size: sizeBytes, mode } = lstatSync(host);
  const isFile = (mode & 0o170000) === 0o100000;
  if (!isFile || sizeBytes < EMBEDDED_SIZE_BYTES_MIN || sizeBytes > image.length) return undefined;
  // Most files of a large tree are not in there, and twelve bytes tell.
  if (!words.hasAll(headOf(host))) return undefined;
  const offset = findTelling(image, readFileSync(host));
  return offset === undefined ? undefined : { offset, sizeBytes };
}

function headOf(path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const head = Buffer.alloc(12);
    readSync(file, head, 0, head.length, 0);
    return head;
  } finally {
    closeSync(file);
  }
}

/** The four-byte words of an image at every offset; says no only where that is so. */
class WordSet {
  readonly #bits = new Uint8Array(1 << 22);

  constructor(image: Buffer) {
    for (let at = 0; at + 4 <= image.length; at++) {
      const bit = WordSet.#bitOf(image.readUInt32LE(at));
      this.#bits[bit >>> 3] = (this.#bits[bit >>> 3] as number) | (1 << (bit & 7));
    }
  }

  hasAll(head: Buffer): boolean {
    return [0, 4, 8].every((at) => {
      const bit = WordSet.#bitOf(head.readUInt32LE(at));
      return ((this.#bits[bit >>> 3] as number) & (1 << (bit & 7))) !== 0;
    });
  }

  /** The upper 25 bits of a product: Knuth's multiplicative hash. */
  static #bitOf(word: number): number {
    return Math.imul(word, 0x9e3779b1) >>> 7;
  }
}
