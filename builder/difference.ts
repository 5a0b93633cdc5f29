// SPDX-License-Identifier: Apache-2.0
// Where two builds of one file differ, and why as far as the bytes tell [docs/spec/build-check.md]: section and nearest symbol of an ELF
// file [ELF-gABI-4.2 §Sections, §Symbol Table], the strings around the place, and the cause that they suggest.

import { quote } from '../core/faults.ts';
import type { Difference, DifferenceCause } from '../core/intoto/rebuild.ts';
import { type Elf, type ElfSection, parseElf, textAt } from './elf.ts';

export interface ComparedFile {
  /** `<step>/<file>`. */
  readonly output: string;
  readonly first: Uint8Array;
  readonly second: Uint8Array;
  /** For a file that is no ELF file itself: the ELF file that `second` was made from, if there is one. */
  readonly elf?: Uint8Array | undefined;
  readonly nowMs: number;
}

/** Runs of differing bytes that are closer than this are one. */
const GAP_SIZE_BYTES = 16;
/** Runs that are described of one file. */
const RUN_COUNT_MAX = 16;
/** What is looked at for strings on both sides of a place. */
const CONTEXT_SIZE_BYTES = 48;
/** They differ because something else does. */
const CONSEQUENCES = ['.symtab', '.strtab', '.shstrtab'];
const DAY_SECONDS = 86_400;

/** What to do about a cause, in one sentence. */
export const FIXES: Readonly<Record<DifferenceCause, string>> = {
  date: 'Take the time from SOURCE_DATE_EPOCH, or leave it out (GCC follows it for __DATE__; ar and gzip have -D and -n).',
  path: 'Leave paths out, or map them: -ffile-prefix-map=$PWD=. for GCC and Clang, with what the shell makes of $PWD.',
  host: 'Leave host and user names out of what is built.',
  'build-id': 'The id follows from the rest: find what else differs, or link with -Wl,--build-id=none.',
  order: 'Sort what is listed from a folder or made in parallel, with LC_ALL=C, before it is used.',
  random: 'Find what reads /dev/urandom, $RANDOM, process ids or temporary names, and give it a fixed value.',
  size: 'Compare both files: one has more than the other.',
  unknown: 'Look at what writes these bytes; memory that was never set is a common reason.',
};

/** The places in which two files differ; none if they are the same. */
export function findDifferences(files: ComparedFile): readonly Difference[] {
  const { first, second } = files;
  if (Buffer.compare(first, second) === 0) return [];
  const [a, b] = [tryElf(first), tryElf(second)];
  const found = a !== undefined && b !== undefined ? betweenElfs(files, a, b) : [];
  return found.length > 0 ? found : betweenBytes(files);
}

/** One line for people. */
export function describeDifference({
  output,
  offset,
  sizeBytes,
  section,
  symbol,
  cause,
  detail,
}: Difference): string {
  const place = [
    section === undefined ? '' : `section ${section}`,
    symbol === undefined ? '' : `symbol ${symbol}`,
  ];
  const where = [`byte ${offset}`, ...place.filter((text) => text !== '')].join(', ');
  return `${output}: ${sizeBytes} bytes at ${where}: ${cause}: ${detail}`;
}

function tryElf(bytes: Uint8Array): Elf | undefined {
  try {
    return parseElf(bytes);
  } catch {
    return undefined;
  }
}

/** Section by section, so that one that grew does not make all that follow differ. */
function betweenElfs(files: ComparedFile, a: Elf, b: Elf): Difference[] {
  const pairs = a.sections.map((section, i) => {
    const nth = a.sections.slice(0, i).filter(({ name }) => name === section.name).length;
    return { section, other: b.sections.filter(({ name }) => name === section.name)[nth] };
  });
  const differing = pairs.filter(
    ({ section, other }) => other === undefined || Buffer.compare(section.bytes, other.bytes) !== 0,
  );
  const causes = differing.filter(({ section }) => !CONSEQUENCES.includes(section.name));
  const symbols = symbolsOf(files.first, a);
  return (causes.length > 0 ? causes : differing)
    .flatMap(({ section, other }) => {
      const base = section.bytes.byteOffset - files.first.byteOffset;
      return describeRuns(files, section.bytes, other?.bytes ?? new Uint8Array(), (at) => ({
        offset: base + at,
        ...(section.name === '' ? {} : { section: section.name }),
        ...symbolAt(symbols, section, a.sections.indexOf(section), at),
      }));
    })
    .slice(0, RUN_COUNT_MAX);
}

/** Any file; an image made from an ELF file by copying its sections is located in that. */
function betweenBytes(files: ComparedFile): Difference[] {
  const elf = files.elf === undefined ? undefined : tryElf(files.elf);
  const symbols = elf === undefined || files.elf === undefined ? [] : symbolsOf(files.elf, elf);
  return describeRuns(files, files.first, files.second, (at) => {
    const found = elf === undefined ? undefined : sectionOfImage(elf, files.second, at);
    if (elf === undefined || found === undefined) return { offset: at };
    const index = elf.sections.indexOf(found.section);
    return { offset: at, section: found.section.name, ...symbolAt(symbols, found.section, index, found.at) };
  });
}

/** The section that lies in the image as it is in the ELF file and covers this offset. */
function sectionOfImage(
  elf: Elf,
  image: Uint8Array,
  at: number,
): { section: ElfSection; at: number } | undefined {
  const haystack = Buffer.from(image.buffer, image.byteOffset, image.length);
  for (const section of elf.sections) {
    if (!section.loaded || section.bytes.length < 4) continue;
    const start = haystack.indexOf(section.bytes);
    if (start >= 0 && at >= start && at < start + section.bytes.length) return { section, at: at - start };
  }
  return undefined;
}

interface Run {
  readonly at: number;
  readonly sizeBytes: number;
}

type Place = Pick<Difference, 'offset' | 'section' | 'symbol'>;

function describeRuns(
  files: ComparedFile,
  first: Uint8Array,
  second: Uint8Array,
  place: (at: number) => Place,
): Difference[] {
  const permuted = isPermuted(first, second);
  return findRuns(first, second).map(({ at, sizeBytes }) => {
    const where = place(at);
    const { cause, detail } = permuted
      ? {
          cause: 'order' as const,
          detail: `the same content in another order, ${contrast(first, second, at)}`,
        }
      : explainRun(first, second, { at, sizeBytes }, files.nowMs, where.section);
    return { output: files.output, ...where, sizeBytes, cause, detail };
  });
}

function findRuns(first: Uint8Array, second: Uint8Array): Run[] {
  const runs: { at: number; sizeBytes: number }[] = [];
  const length = Math.min(first.length, second.length);
  for (let at = 0; at < length; at++) {
    if (first[at] === second[at]) continue;
    const last = runs.at(-1);
    if (last !== undefined && at - (last.at + last.sizeBytes) <= GAP_SIZE_BYTES)
      last.sizeBytes = at + 1 - last.at;
    else if (runs.length === RUN_COUNT_MAX) break;
    else runs.push({ at, sizeBytes: 1 });
  }
  const rest = Math.max(first.length, second.length) - length;
  if (rest > 0 && runs.length === 0) runs.push({ at: length, sizeBytes: rest });
  return runs;
}

/** Both have the same bytes, each as often: nothing but their order differs. */
function isPermuted(first: Uint8Array, second: Uint8Array): boolean {
  if (first.length !== second.length || first.length < 4) return false;
  const counts = new Int32Array(256);
  for (let i = 0; i < first.length; i++) {
    counts[first[i] as number] = (counts[first[i] as number] as number) + 1;
    counts[second[i] as number] = (counts[second[i] as number] as number) - 1;
  }
  return counts.every((count) => count === 0);
}

function contrast(first: Uint8Array, second: Uint8Array, at: number): string {
  return `${quote(stringAround(first, at))} and ${quote(stringAround(second, at))}`;
}

const MONTHS = 'Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec';
const DATE = new RegExp(
  `\\d{4}-\\d{2}-\\d{2}|\\d{2}:\\d{2}:\\d{2}|(?:${MONTHS}) [ \\d]\\d \\d{4}|\\d{1,2} (?:${MONTHS}) \\d{4}|(?<!\\d)1[6-9]\\d{8}(?!\\d)`,
);

function explainRun(
  first: Uint8Array,
  second: Uint8Array,
  { at, sizeBytes }: Run,
  nowMs: number,
  section: string | undefined,
): { cause: DifferenceCause; detail: string } {
  const shown = contrast(first, second, at);
  if (section === '.note.gnu.build-id')
    return { cause: 'build-id', detail: `the linker's build id, ${shown}` };
  const texts = [stringAround(first, at), stringAround(second, at)];
  if (texts.every((text) => DATE.test(text))) return { cause: 'date', detail: `a date or time, ${shown}` };
  if (isTimestamp(first, second, at, nowMs))
    return { cause: 'date', detail: 'a time of now as a binary number' };
  if (first.length !== second.length && sizeBytes > 0 && texts.some((text) => text === '')) {
    return { cause: 'size', detail: `${first.length} bytes and ${second.length} bytes, ${shown}` };
  }
  if (texts.every((text) => /\/[\w.+-]+\/[\w.+-]*/.test(text)))
    return { cause: 'path', detail: `a path, ${shown}` };
  if (first.length !== second.length) {
    return { cause: 'size', detail: `${first.length} bytes and ${second.length} bytes, ${shown}` };
  }
  if (sizeBytes >= 4) return { cause: 'random', detail: `values without a pattern, ${shown}` };
  return { cause: 'unknown', detail: shown };
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

/** True if a 32-bit number over this place is a time within a day of now in both. */
function isTimestamp(first: Uint8Array, second: Uint8Array, at: number, nowMs: number): boolean {
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

interface ElfSymbol {
  readonly name: string;
  readonly sectionIndex: number;
  readonly value: number;
}

/** The named symbols of a file, by section and value. */
function symbolsOf(bytes: Uint8Array, elf: Elf): ElfSymbol[] {
  const table = elf.sections.find(({ name }) => name === '.symtab')?.bytes;
  const names = elf.sections.find(({ name }) => name === '.strtab')?.bytes;
  if (table === undefined || names === undefined) return [];
  const wide = bytes[4] === 2;
  const entrySize = wide ? 24 : 16;
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const symbols: ElfSymbol[] = [];
  for (let at = 0; at + entrySize <= table.length; at += entrySize) {
    const little = elf.littleEndian;
    const name = textAt(names, view.getUint32(at, little));
    const value = wide ? Number(view.getBigUint64(at + 8, little)) : view.getUint32(at + 4, little);
    const kind = (table[at + (wide ? 4 : 12)] as number) & 0xf;
    // Sections and files have symbols too; they name no place.
    if (name !== '' && kind < 3)
      symbols.push({ name, value, sectionIndex: view.getUint16(at + (wide ? 6 : 14), little) });
  }
  return symbols;
}

/** The last symbol at or before a place of a section. */
function symbolAt(
  symbols: readonly ElfSymbol[],
  section: ElfSection,
  sectionIndex: number,
  at: number,
): { symbol?: string } {
  let best: ElfSymbol | undefined;
  for (const symbol of symbols) {
    if (symbol.sectionIndex !== sectionIndex || symbol.value > section.address + at) continue;
    if (best === undefined || symbol.value >= best.value) best = symbol;
  }
  return best === undefined ? {} : { symbol: best.name };
}

/**
 * Places where a file holds the day on which it was built, in one of the usual spellings. Two builds of one day agree on it, so
 * that comparing them cannot find it.
 */
export function findDayOfBuild(output: string, bytes: Uint8Array, nowMs: number): readonly Difference[] {
  const iso = new Date(nowMs).toISOString().slice(0, 10);
  const [year = '', month = '', day = ''] = iso.split('-');
  const name = MONTHS.split('|')[Number(month) - 1] ?? '';
  const spellings = [
    iso,
    `${year}${month}${day}`,
    `${name} ${day.replace(/^0/, ' ')} ${year}`,
    `${name} ${day} ${year}`,
    `${day} ${name} ${year}`,
  ];
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const elf = tryElf(bytes);
  return [...new Set(spellings)].flatMap((spelling): Difference[] => {
    const offset = haystack.indexOf(spelling, 0, 'latin1');
    if (offset < 0) return [];
    const section = elf?.sections.find(({ bytes: of }) => {
      const start = of.byteOffset - bytes.byteOffset;
      return offset >= start && offset < start + of.length;
    });
    const detail = `the day of the build, ${quote(spelling)}`;
    const place = section === undefined ? {} : { section: section.name };
    return [{ output, offset, sizeBytes: spelling.length, ...place, cause: 'date', detail }];
  });
}
