// SPDX-License-Identifier: Apache-2.0
// Where two builds of one file differ [docs/spec/build-check.md]: section and nearest symbol of an ELF file
// [ELF-gABI-4.2 §Sections, §Symbol Table], each with the cause that the bytes suggest.

import { quote } from '../core/faults.ts';
import type { Difference, DifferenceCause } from '../core/intoto/rebuild.ts';
import {
  type Contents,
  contrastAt,
  type Explained,
  explainRun,
  findMovedTexts,
  isPermuted,
  MONTHS,
} from './difference-cause.ts';
import { type Elf, type ElfSection, parseElf, textAt } from './elf.ts';

export interface ComparedFile extends Contents {
  /** `<step>/<file>`. */
  readonly output: string;
  /** For a file that is no ELF file itself: the ELF file that `second` was made from, if there is one. */
  readonly elf?: Uint8Array | undefined;
}

/** Runs of differing bytes that are closer than this are one. */
const GAP_SIZE_BYTES = 16;
/** Places that are described of one file. */
const RUN_COUNT_MAX = 16;
/** They differ because something else does. */
const CONSEQUENCES = ['.symtab', '.strtab', '.shstrtab'];
/** Causes that can be put right where they are, in the order in which they are told; other bytes may differ because these do. */
const TELLING: readonly DifferenceCause[] = ['host', 'date', 'path', 'build-id', 'order'];

/** What to do about a cause, in one sentence. */
export const FIXES: Readonly<Record<DifferenceCause, string>> = {
  date: 'Take the time from SOURCE_DATE_EPOCH, or leave it out (GCC follows it for __DATE__; ar and gzip have -D and -n); for date(1) name libfaketime in an input.',
  path: 'Leave paths out, or map them: -ffile-prefix-map=$PWD=. for GCC and Clang, with what the shell makes of $PWD.',
  host: 'Leave host and user names out of what is built.',
  'build-id': 'The id follows from the rest: find what else differs, or link with -Wl,--build-id=none.',
  order: 'Sort what is listed from a folder or made in parallel, with LC_ALL=C, before it is used.',
  random: 'Find what reads /dev/urandom, $RANDOM, process ids or temporary names, and give it a fixed value.',
  size: 'Compare both files: one has more than the other.',
  unknown: 'Look at what writes these bytes; memory that was never set is a common reason.',
};

/** The places in which two files differ, those that tell why first; none if they are the same. */
export function findDifferences(files: ComparedFile): readonly Difference[] {
  const { first, second } = files;
  if (Buffer.compare(first, second) === 0) return [];
  const [a, b] = [tryElf(first), tryElf(second)];
  const found = a !== undefined && b !== undefined ? betweenElfs(files, a, b) : [];
  const places = found.length > 0 ? found : betweenBytes(files);
  const rank = ({ cause }: Difference) => (TELLING.includes(cause) ? TELLING.indexOf(cause) : TELLING.length);
  return [...places].sort((a, b) => rank(a) - rank(b)).slice(0, RUN_COUNT_MAX);
}

/**
 * Where anything tells why builds differ, what does not is told in one place a file: when a text gets longer, whatever comes after
 * it moves, and every address with it.
 */
export function foldConsequences(differences: readonly Difference[]): Difference[] {
  if (!differences.some(({ cause }) => TELLING.includes(cause))) return [...differences];
  const seen = new Set<string>();
  return differences.flatMap((difference): Difference[] => {
    if (TELLING.includes(difference.cause)) return [difference];
    if (seen.has(difference.output)) return [];
    seen.add(difference.output);
    const count = differences.filter(
      ({ output, cause }) => output === difference.output && !TELLING.includes(cause),
    ).length;
    if (count === 1) return [difference];
    const more = `and at least ${count - 1} more places, which may follow from what is told elsewhere`;
    return [{ ...difference, detail: `${difference.detail}; ${more}` }];
  });
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
  return (causes.length > 0 ? causes : differing).flatMap(({ section, other }) => {
    const base = section.bytes.byteOffset - files.first.byteOffset;
    return describePlaces(files, section.bytes, other?.bytes ?? new Uint8Array(), (at) => ({
      offset: base + at,
      ...(section.name === '' ? {} : { section: section.name }),
      ...symbolAt(symbols, section, a.sections.indexOf(section), at),
    }));
  });
}

/** Any file; an image made from an ELF file by copying its sections is located in that. */
function betweenBytes(files: ComparedFile): Difference[] {
  const elf = files.elf === undefined ? undefined : tryElf(files.elf);
  const symbols = elf === undefined || files.elf === undefined ? [] : symbolsOf(files.elf, elf);
  return describePlaces(files, files.first, files.second, (at) => {
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

type Place = Pick<Difference, 'offset' | 'section' | 'symbol'>;

function describePlaces(
  files: ComparedFile,
  first: Uint8Array,
  second: Uint8Array,
  place: (at: number) => Place,
): Difference[] {
  const contents: Contents = { ...files, first, second };
  const runs = findRuns(first, second);
  const told = (at: number, sizeBytes: number, explained: Explained) => ({
    output: files.output,
    ...place(at),
    sizeBytes,
    ...explained,
  });
  if (isPermuted(first, second)) {
    return runs.map(({ at, sizeBytes }) => {
      const detail = `the same content in another order, ${contrastAt(contents, at)}`;
      return told(at, sizeBytes, { cause: 'order', detail });
    });
  }
  const grown = first.length !== second.length;
  const explained = runs.map((run, i) => {
    const { section } = place(run.at);
    return { ...run, ...explainRun(contents, run, { section, moved: grown && i > 0 }) };
  });
  // Bytes that moved differ everywhere: then texts are compared wherever they are.
  const texts = grown || runs.length === RUN_COUNT_MAX ? findMovedTexts(contents) : [];
  const more = texts.filter(
    (text) =>
      !explained.some(
        ({ at, cause }) => cause === text.cause && at >= text.at && at < text.at + text.sizeBytes,
      ),
  );
  return [...more, ...explained].map(({ at, sizeBytes, cause, detail }) =>
    told(at, sizeBytes, { cause, detail }),
  );
}

function findRuns(first: Uint8Array, second: Uint8Array): { at: number; sizeBytes: number }[] {
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
    // Sections and files have symbols too; they name no place, nor do those that tell ARM code from data [AAELF32-2023Q3 §Mapping symbols].
    if (name !== '' && kind < 3 && !/^\$[adt](?:\.|$)/.test(name))
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
