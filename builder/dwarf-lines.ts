// SPDX-License-Identifier: Apache-2.0
// Line tables [DWARF-5 §6.2], and those of versions 2 to 4: which source file which code came from, headers with code of their own
// included. 32-bit ELF, one byte order, DWARF 2 to 5 as compilers mix them in one file. Compressed sections are not read.

import { posix } from 'node:path';
import { DwarfReader, type DwarfStrings, dwarfStrings, malformed, readForm } from './dwarf-reader.ts';
import { readUnits } from './dwarf-units.ts';
import type { Elf } from './elf.ts';
import type { SourceLine } from './stabs.ts';

/** One compilation unit's table. */
export interface LineTable {
  /** Offset in .debug_line: the linker's map says which object it came from. */
  readonly offset: number;
  /** The source that was compiled, made absolute; undefined if nothing says it. */
  readonly source: string | undefined;
  /** Every row, in file order; one without a path is of no file. */
  readonly rows: readonly (SourceLine | { readonly address: number; readonly path: undefined })[];
  /** Indexes of the rows that end a sequence: nothing follows on from them. */
  readonly ends: ReadonlySet<number>;
}

export interface LineInformation {
  readonly tables: readonly LineTable[];
  /** What was there and could not be read, for people. */
  readonly gaps: readonly string[];
}

/** The line tables of an ELF file; none if it has none. @throws SBOM_EVIDENCE_MALFORMED */
export function readLineTables(elf: Elf): LineInformation {
  const section = (name: string) => elf.sections.find((found) => found.name === name);
  const needed = ['.debug_line', '.debug_info', '.debug_abbrev', '.debug_str', '.debug_line_str'];
  const compressed = needed.filter(
    (name) => section(name)?.compressed === true || section(name.replace('.', '.z')) !== undefined,
  );
  if (compressed.length > 0) {
    const gap = `${compressed.join(', ')}: compressed line information is not read; link with -gz=none`;
    return { tables: [], gaps: [gap] };
  }
  const lines = section('.debug_line')?.bytes ?? new Uint8Array();
  if (lines.length === 0) return { tables: [], gaps: [] };
  if (elf.wide) return { tables: [], gaps: ['.debug_line: line information of 64-bit files is not read'] };
  const strings = dwarfStrings(elf);
  const units = readUnits(
    section('.debug_info')?.bytes ?? new Uint8Array(),
    section('.debug_abbrev')?.bytes ?? new Uint8Array(),
    strings,
    elf.littleEndian,
  );
  const unitAt = new Map(units.map((unit) => [unit.lines, unit]));
  const reader = new DwarfReader(lines, elf.littleEndian);
  const tables: LineTable[] = [];
  while (!reader.done) {
    const offset = reader.at;
    const end = reader.unitEnd();
    const unit = unitAt.get(offset);
    // A folder that was mapped to `.` is the one that compilers run in.
    const folder = posix.resolve('/build', unit?.folder ?? '');
    const table = new DwarfReader(lines, elf.littleEndian, reader.at, end);
    reader.at = end;
    tables.push({
      offset,
      source: unit === undefined || unit.name === '' ? undefined : posix.resolve(folder, unit.name),
      ...readRows(table, readHeader(table, folder, strings)),
    });
  }
  return { tables, gaps: [] };
}

interface LineHeader {
  readonly minimumInstruction: number;
  readonly lineRange: number;
  readonly opcodeBase: number;
  /** Number of arguments by standard opcode. */
  readonly argumentCounts: readonly number[];
  /** By the number that the program uses; absolute. */
  readonly files: readonly (string | undefined)[];
}

function readHeader(reader: DwarfReader, folder: string, strings: DwarfStrings): LineHeader {
  const version = reader.u16();
  if (version < 2 || version > 5) throw malformed(`a line table of version ${version}`);
  if (version === 5) {
    const [addressSize, selectorSize] = [reader.u8(), reader.u8()];
    if (addressSize !== 4 || selectorSize !== 0)
      throw malformed('addresses that are not flat and of 4 bytes');
  }
  const headerLength = reader.u32();
  const program = reader.at + headerLength;
  const minimumInstruction = reader.u8();
  // Operations an instruction: above one only on machines that issue several at once.
  if (version >= 4 && reader.u8() !== 1) throw malformed('a machine with several operations an instruction');
  reader.skip(2);
  const lineRange = reader.u8();
  const opcodeBase = reader.u8();
  if (lineRange === 0 || opcodeBase === 0) throw malformed('a line table without a range');
  const argumentCounts = [0];
  while (argumentCounts.length < opcodeBase) argumentCounts.push(reader.u8());
  const files = version === 5 ? readFiles5(reader, folder, strings) : readFiles(reader, folder);
  if (program < reader.at) throw malformed('a line program inside its header');
  reader.skip(program - reader.at);
  return { minimumInstruction, lineRange, opcodeBase, argumentCounts, files };
}

/** Before version 5: folder 0 is the unit's, file numbers start at one. */
function readFiles(reader: DwarfReader, folder: string): (string | undefined)[] {
  const folders = [folder];
  for (let name = reader.text(); name !== ''; name = reader.text()) folders.push(posix.resolve(folder, name));
  const files: (string | undefined)[] = [undefined];
  for (let name = reader.text(); name !== ''; name = reader.text()) {
    const from = folders[reader.uleb()];
    reader.uleb();
    reader.uleb();
    files.push(absolute(from, name));
  }
  return files;
}

/** [DWARF-5 §6.2.4.1]: both lists describe their own entries; numbers start at zero. */
function readFiles5(reader: DwarfReader, folder: string, strings: DwarfStrings): (string | undefined)[] {
  const folders = readEntries(reader, strings).map(({ path }) => posix.resolve(folder, path));
  return readEntries(reader, strings).map(({ path, folder: index }) => absolute(folders[index], path));
}

const [DW_LNCT_PATH, DW_LNCT_DIRECTORY] = [1, 2];

function readEntries(reader: DwarfReader, strings: DwarfStrings): { path: string; folder: number }[] {
  const format = Array.from({ length: reader.u8() }, () => [reader.uleb(), reader.uleb()] as const);
  const count = reader.uleb();
  const entries: { path: string; folder: number }[] = [];
  for (let i = 0; i < count; i++) {
    const before = reader.at;
    let [path, folder] = ['', 0];
    for (const [kind, form] of format) {
      const value = readForm(reader, form, strings);
      if (kind === DW_LNCT_PATH && typeof value === 'string') path = value;
      if (kind === DW_LNCT_DIRECTORY && typeof value === 'number') folder = value;
    }
    // Entries of no bytes could be counted by the billion.
    if (reader.at === before) throw malformed('entries without content');
    entries.push({ path, folder });
  }
  return entries;
}

/** `<built-in>` and the like are no files. */
function absolute(folder: string | undefined, name: string): string | undefined {
  return folder === undefined || name.startsWith('<') ? undefined : posix.resolve(folder, name);
}

const [SET_ADDRESS, END_SEQUENCE] = [2, 1];

/** Runs a line program [DWARF-5 §6.2.5]; only addresses and files matter here. */
function readRows(reader: DwarfReader, header: LineHeader): Pick<LineTable, 'rows' | 'ends'> {
  const ends = new Set<number>();
  const rows: { address: number; path: string | undefined }[] = [];
  let [address, file] = [0, 1];
  const add = () => rows.push({ address, path: header.files[file] });
  const advance = (opcode: number) => {
    address += header.minimumInstruction * Math.floor((opcode - header.opcodeBase) / header.lineRange);
  };
  while (!reader.done) {
    const opcode = reader.u8();
    if (opcode >= header.opcodeBase) {
      advance(opcode);
      add();
    } else if (opcode === 0) {
      const length = reader.uleb();
      const from = reader.at;
      const extended = length === 0 ? 0 : reader.u8();
      if (extended === SET_ADDRESS) address = reader.u32();
      if (extended === END_SEQUENCE) {
        ends.add(rows.length);
        rows.push({ address, path: undefined });
        [address, file] = [0, 1];
      }
      reader.skip(length - (reader.at - from));
    } else if (opcode === 1) add();
    else if (opcode === 2) address += header.minimumInstruction * reader.uleb();
    else if (opcode === 4) file = reader.uleb();
    else if (opcode === 8) advance(255);
    else if (opcode === 9) address += reader.u16();
    else for (let i = header.argumentCounts[opcode] ?? 0; i > 0; i--) reader.uleb();
  }
  return { rows: rows as LineTable['rows'], ends };
}
