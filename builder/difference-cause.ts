// SPDX-License-Identifier: Apache-2.0
// Why two contents differ, as far as their bytes tell [docs/spec/build-check.md §What is said]: the texts around a place, or the texts that
// only one of the two has.

import { quote } from '../core/faults.ts';
import type { DifferenceCause } from '../core/intoto/rebuild.ts';

/** Two contents that should be the same. */
export interface Contents {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
  readonly nowMs: number;
  /** User and host name that only the second build was told. */
  readonly told?: readonly string[] | undefined;
}

export interface Explained {
  readonly cause: DifferenceCause;
  /** For people. */
  readonly detail: string;
}

/** What is looked at for text on both sides of a place. */
const CONTEXT_SIZE_BYTES = 48;
/** Shorter runs of printable bytes are no text. */
const TEXT_SIZE_BYTES_MIN = 6;
/** A line of text longer than that is one for a machine, and compared by its start. */
const TEXT_SIZE_BYTES_MAX = 4096;
/** Larger contents are not searched for texts that moved. */
const SEARCHED_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** Texts of one cause that are told of one content. */
const MOVED_COUNT_MAX = 4;
const DAY_SECONDS = 86_400;

export const MONTHS = 'Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec';
const DATE = new RegExp(
  `\\d{4}-\\d{2}-\\d{2}|\\d{2}:\\d{2}:\\d{2}|(?:${MONTHS}) [ \\d]\\d \\d{4}|\\d{1,2} (?:${MONTHS}) \\d{4}|(?<!\\d)1[6-9]\\d{8}(?!\\d)`,
  'g',
);
const PATH = /[^\s"'(),:;=<>]*\/[\w.+-]+\/[^\s"'(),:;=<>]*/g;

const WORDS: Readonly<Partial<Record<DifferenceCause, string>>> = {
  host: 'user or host name',
  date: 'a date or time',
  path: 'a path',
};

/** Explains one run of differing bytes. `moved`: what is at this place of the second content may be something else altogether. */
export function explainRun(
  contents: Contents,
  { at, sizeBytes }: { readonly at: number; readonly sizeBytes: number },
  { section, moved }: { readonly section: string | undefined; readonly moved: boolean },
): Explained {
  const { first, second } = contents;
  const texts = [stringAround(first, at), stringAround(second, at)] as const;
  const shown = contrastAt(contents, at);
  if (section === '.note.gnu.build-id')
    return { cause: 'build-id', detail: `the linker's build id, ${shown}` };
  const [cause] = moved ? [] : causesOf(...texts, contents.told);
  if (cause !== undefined) return { cause, detail: `${WORDS[cause]}, ${shown}` };
  if (!moved && isTimestamp(contents, at))
    return { cause: 'date', detail: 'a time of now as a binary number' };
  if (first.length !== second.length) {
    return { cause: 'size', detail: `${first.length} bytes and ${second.length} bytes, ${shown}` };
  }
  if (sizeBytes >= 4) return { cause: 'random', detail: `values without a pattern, ${shown}` };
  return { cause: 'unknown', detail: shown };
}

/** Texts that only one content has and that are like one of the other: what differs is in them, wherever they are. */
export function findMovedTexts(contents: Contents): (Explained & { at: number; sizeBytes: number })[] {
  const { first, second, told } = contents;
  if (Math.max(first.length, second.length) > SEARCHED_SIZE_BYTES_MAX) return [];
  const [before, after] = [textsOf(first), textsOf(second)];
  const lost = [...before].filter(([text]) => !after.has(text));
  const known = new Set(lost.flatMap(([text]) => tellingIn(text, told)));
  const found = new Map<DifferenceCause, number>();
  return [...after.keys()].flatMap((text) => {
    if (before.has(text) || tellingIn(text, told).every((part) => known.has(part))) return [];
    const like = mostAlike(text, lost);
    if (like === undefined) return [];
    return causesOf(like.text, text, told).flatMap((cause) => {
      const count = (found.get(cause) ?? 0) + 1;
      found.set(cause, count);
      if (count > MOVED_COUNT_MAX) return [];
      const detail = `${WORDS[cause]}, ${contrast(cut(like.text), cut(text))}`;
      return [{ at: like.at, sizeBytes: like.text.length, cause, detail }];
    });
  });
}

/** The dates, paths and told words of a text. */
function tellingIn(text: string, told: readonly string[] = []): string[] {
  const words = told.filter((word) => text.includes(word));
  return [DATE, PATH].flatMap((pattern) => [...(text.match(pattern) ?? [])]).concat(words);
}

/** What differs between two texts, the surest first. */
function causesOf(first: string, second: string, told: readonly string[] = []): DifferenceCause[] {
  const differ = (pattern: RegExp) => {
    const [a, b] = [first.match(pattern), second.match(pattern)];
    return a !== null && b !== null && a.join('\n') !== b.join('\n');
  };
  return [
    ...(told.some((word) => second.includes(word) && !first.includes(word)) ? (['host'] as const) : []),
    ...(differ(DATE) ? (['date'] as const) : []),
    ...(differ(PATH) ? (['path'] as const) : []),
  ];
}

/** Each text of a content, and where it is first. */
function textsOf(bytes: Uint8Array): Map<string, number> {
  const texts = new Map<string, number>();
  const latin1 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  for (const { 0: text, index } of latin1.matchAll(/[\x20-\x7e]+/g)) {
    const start = text.slice(0, TEXT_SIZE_BYTES_MAX);
    if (text.length >= TEXT_SIZE_BYTES_MIN && !texts.has(start)) texts.set(start, index);
  }
  return texts;
}

/** The text that begins or ends most like this one; undefined if none shares an eighth of it. */
function mostAlike(
  text: string,
  others: readonly (readonly [string, number])[],
): { text: string; at: number } | undefined {
  let [best, most] = [undefined as { text: string; at: number } | undefined, Math.max(3, text.length / 8)];
  for (const [other, at] of others) {
    const shared = sharedLength(text, other);
    if (shared > most) [best, most] = [{ text: other, at }, shared];
  }
  return best;
}

/** Length of what both begin with and of what both end with. */
function sharedLength(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  let start = 0;
  while (start < length && a[start] === b[start]) start++;
  let end = 0;
  while (end < length - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  return start + end;
}

/** Of what is no text. */
const SHOWN_SIZE_BYTES = 8;

/** What the two have at a place, for people. */
export function contrastAt({ first, second }: Contents, at: number): string {
  const texts = [stringAround(first, at), stringAround(second, at)] as const;
  if (texts.join('') !== '') return contrast(...texts);
  const hex = (bytes: Uint8Array) =>
    Buffer.from(bytes.subarray(at, at + SHOWN_SIZE_BYTES)).toString('hex') || 'none';
  return `bytes ${hex(first)} and ${hex(second)}`;
}

function contrast(first: string, second: string): string {
  return `${quote(first)} and ${quote(second)}`;
}

function cut(text: string): string {
  return text.slice(0, 2 * CONTEXT_SIZE_BYTES);
}

/** The printable text around a place, cut; empty if there is none. */
function stringAround(bytes: Uint8Array, at: number): string {
  const isText = (i: number) => {
    const byte = bytes[i];
    return byte !== undefined && byte >= 0x20 && byte < 0x7f;
  };
  let start = at;
  while (start > at - CONTEXT_SIZE_BYTES && isText(start - 1)) start--;
  let end = at;
  while (end < at + CONTEXT_SIZE_BYTES && isText(end)) end++;
  return Buffer.from(bytes.subarray(start, end)).toString('latin1');
}

/** Both have the same bytes, each as often: nothing but their order differs. */
export function isPermuted(first: Uint8Array, second: Uint8Array): boolean {
  if (first.length !== second.length || first.length < 4) return false;
  const counts = new Int32Array(256);
  for (let i = 0; i < first.length; i++) {
    counts[first[i] as number] = (counts[first[i] as number] as number) + 1;
    counts[second[i] as number] = (counts[second[i] as number] as number) - 1;
  }
  return counts.every((count) => count === 0);
}

/** True if a 32-bit number over this place is a time within a day of now in both. */
function isTimestamp({ first, second, nowMs }: Contents, at: number): boolean {
  const near = (bytes: Uint8Array, start: number, little: boolean) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Math.abs(view.getUint32(start, little) - nowMs / 1000) < DAY_SECONDS;
  };
  const end = Math.min(first.length, second.length) - 4;
  for (let start = Math.max(0, at - 3); start <= Math.min(at, end); start++) {
    for (const little of [true, false]) {
      if (near(first, start, little) && near(second, start, little)) return true;
    }
  }
  return false;
}
