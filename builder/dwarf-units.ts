// SPDX-License-Identifier: Apache-2.0
// The first entry of each compilation unit [DWARF-5 §3.1.1, §7.5]: the source it was compiled from, in which folder, and where its
// line table starts. Line tables before version 5 do not say what their folder 0 is, and none says which file is the unit's own.

import { DwarfReader, type DwarfStrings, type DwarfValue, malformed, readForm } from './dwarf-reader.ts';

export interface CompilationUnit {
  /** As the compiler was given it; empty if it is not said. */
  readonly name: string;
  readonly folder: string;
  /** Offset of its line table in .debug_line. */
  readonly lines: number;
}

const [DW_AT_NAME, DW_AT_STMT_LIST, DW_AT_COMP_DIR] = [0x03, 0x10, 0x1b];
const DW_FORM_IMPLICIT_CONST = 0x21;
const DW_FORM_INDIRECT = 0x16;
const [DW_UT_COMPILE, DW_UT_PARTIAL] = [1, 3];

/** Compilation units of .debug_info that have a line table. @throws SBOM_EVIDENCE_MALFORMED */
export function readUnits(
  info: Uint8Array,
  abbreviations: Uint8Array,
  strings: DwarfStrings,
  little: boolean,
): CompilationUnit[] {
  const units: CompilationUnit[] = [];
  const tables = new Abbreviations(abbreviations, little);
  const reader = new DwarfReader(info, little);
  while (!reader.done) {
    const end = reader.unitEnd();
    const unit = new DwarfReader(info, little, reader.at, end);
    reader.at = end;
    const version = unit.u16();
    if (version < 2 || version > 5) throw malformed(`a unit of version ${version}`);
    let table: number;
    if (version === 5) {
      const kind = unit.u8();
      if (unit.u8() !== 4) throw malformed('addresses that are not of 4 bytes');
      table = unit.u32();
      if (kind !== DW_UT_COMPILE && kind !== DW_UT_PARTIAL) continue;
    } else {
      table = unit.u32();
      if (unit.u8() !== 4) throw malformed('addresses that are not of 4 bytes');
    }
    if (unit.done) continue;
    const found = readFirst(unit, table, tables, strings);
    if (found !== undefined) units.push(found);
  }
  return units;
}

/** Attributes of a unit's first entry. */
function readFirst(
  unit: DwarfReader,
  offset: number,
  tables: Abbreviations,
  strings: DwarfStrings,
): CompilationUnit | undefined {
  const code = unit.uleb();
  if (code === 0) return undefined;
  const table = tables.find(offset, code);
  const values = new Map<number, DwarfValue>();
  for (;;) {
    const name = table.uleb();
    let form = table.uleb();
    if (name === 0 && form === 0) break;
    if (form === DW_FORM_IMPLICIT_CONST) table.sleb();
    if (form === DW_FORM_INDIRECT) form = unit.uleb();
    values.set(name, readForm(unit, form, strings));
  }
  const lines = values.get(DW_AT_STMT_LIST);
  if (typeof lines !== 'number') return undefined;
  const text = (name: number) => {
    const value = values.get(name);
    return typeof value === 'string' ? value : '';
  };
  return { name: text(DW_AT_NAME), folder: text(DW_AT_COMP_DIR), lines };
}

/** Tables of abbreviations [DWARF-5 §7.5.3]; each is searched, all together in linear time. */
class Abbreviations {
  readonly #bytes: Uint8Array;
  readonly #little: boolean;
  readonly #found = new Map<string, number>();
  /** A linker gives each unit a table of its own, and units that share one are found in the cache. */
  #budget: number;

  constructor(bytes: Uint8Array, little: boolean) {
    this.#bytes = bytes;
    this.#little = little;
    this.#budget = 4 * bytes.length;
  }

  /** A reader at the first attribute of an abbreviation. */
  find(offset: number, code: number): DwarfReader {
    const key = `${offset} ${code}`;
    const known = this.#found.get(key);
    const reader = new DwarfReader(this.#bytes, this.#little, known ?? offset);
    if (known !== undefined) return reader;
    for (;;) {
      const start = reader.at;
      const found = reader.uleb();
      if (found === 0) throw malformed(`a unit without its abbreviation ${code}`);
      reader.uleb();
      reader.u8();
      if (found === code) {
        this.#found.set(key, reader.at);
        return reader;
      }
      for (;;) {
        const [name, form] = [reader.uleb(), reader.uleb()];
        if (name === 0 && form === 0) break;
        if (form === DW_FORM_IMPLICIT_CONST) reader.sleb();
      }
      this.#budget -= reader.at - start;
      if (this.#budget < 0) throw malformed('tables of abbreviations that overlap');
    }
  }
}
