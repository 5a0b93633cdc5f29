// SPDX-License-Identifier: Apache-2.0
// Which bytes that the linker placed are in the image, and where; and which bytes of the image nobody placed.

import type { Elf, ElfSection } from './elf.ts';
import type { Contribution } from './linker-map.ts';

export interface Placed extends Contribution {
  /** Where in the image exactly these bytes are; undefined if they are not, or if finding them says nothing. */
  readonly imageOffset: number | undefined;
}

/** The shortest run of bytes whose presence in an image says anything. */
const TELLING_SIZE_BYTES = 8;

/** A range of the image. */
export interface ImageRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface Placement {
  readonly placed: readonly Placed[];
  /** Where the image holds what was linked; whole sections with what the linker itself put between contributions. */
  readonly ranges: readonly ImageRange[];
}

/** Bytes of an image that are gone through in all: seconds. A step decides how many parts its map and its ELF file have. */
const SEARCHED_SIZE_BYTES_MAX = 16 * 1024 ** 3;

/**
 * Contributions to loaded sections. The linker's own (stubs, fill) come from no file and are left out. Where a search for all of them would take too
 * long, the last ones are not looked for, and so not found.
 */
export function placeContributions(
  contributions: readonly Contribution[],
  elf: Elf,
  image: Uint8Array,
  searchedSizeBytesMax = SEARCHED_SIZE_BYTES_MAX,
): Placement {
  let searched = 0;
  const search = (bytes: Uint8Array): number | undefined => {
    if (searched >= searchedSizeBytesMax) return undefined;
    const offset = findTelling(asBuffer(image), asBuffer(bytes));
    searched += offset ?? image.length;
    return offset;
  };
  const sections = new Map<string, ElfSection>();
  const whole = new Map<ElfSection, number>();
  for (const section of elf.sections) {
    if (!section.loaded || sections.has(section.name)) continue;
    sections.set(section.name, section);
    const offset = search(section.bytes);
    if (offset !== undefined) whole.set(section, offset);
  }
  const placed = contributions.flatMap((entry): Placed[] => {
    const section = sections.get(entry.outputSection);
    if (section === undefined || entry.object === 'linker stubs') return [];
    const start = entry.address - section.address;
    if (start < 0 || start + entry.sizeBytes > section.bytes.length) return [];
    // A section that is there whole proves its smallest part; otherwise each part must be found by itself.
    const offset = whole.get(section);
    const bytes = section.bytes.subarray(start, start + entry.sizeBytes);
    return [{ ...entry, imageOffset: offset === undefined ? search(bytes) : offset + start }];
  });
  const sectionRanges = [...whole].map(([{ bytes }, offset]) => ({ offset, sizeBytes: bytes.length }));
  const ranges = placed.flatMap(({ imageOffset: offset, sizeBytes }) =>
    offset === undefined ? [] : [{ offset, sizeBytes }],
  );
  return { placed, ranges: [...sectionRanges, ...ranges] };
}

/** Where bytes are in an image; undefined for a few bytes, or a run of one, which are found in any by chance. */
export function findTelling(image: Buffer, bytes: Buffer): number | undefined {
  if (bytes.length < TELLING_SIZE_BYTES || !bytes.some((byte) => byte !== bytes[0])) return undefined;
  const offset = image.indexOf(bytes);
  return offset < 0 ? undefined : offset;
}

/** How many bytes of the image are in none of the ranges, fill (0x00 and 0xff) left out. */
export function countUnplaced(image: Uint8Array, ranges: readonly ImageRange[]): number {
  let [count, at] = [0, 0];
  const countTo = (end: number) => {
    for (; at < end; at++) if (image[at] !== 0x00 && image[at] !== 0xff) count++;
  };
  for (const { offset, sizeBytes } of [...ranges].sort((a, b) => a.offset - b.offset)) {
    countTo(offset);
    at = Math.max(at, offset + sizeBytes);
  }
  countTo(image.length);
  return count;
}

/** How many bytes two ranges have in common. */
export function overlap(a: ImageRange, b: ImageRange): number {
  return Math.max(0, Math.min(a.offset + a.sizeBytes, b.offset + b.sizeBytes) - Math.max(a.offset, b.offset));
}

/** Whether the outer range, if it is anywhere, holds all of the inner. */
export function isInside(inner: ImageRange, outer: ImageRange): boolean {
  return outer.offset >= 0 && overlap(inner, outer) === inner.sizeBytes;
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
