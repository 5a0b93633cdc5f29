// SPDX-License-Identifier: Apache-2.0
// A cursor over a DWARF section [DWARF-5 §7]: integers of the target's byte order, LEB128, strings, attribute forms. 32-bit DWARF.

import { quote } from '../core/faults.ts';
import { type Elf, textAt } from './elf.ts';
import { BUILDER } from './faults.ts';

/** Longest name in line information: a path that a compiler was given. */
const NAME_SIZE_BYTES_MAX = 4096;

/** The value of an attribute: number, text, or undefined where this reader only skips. */
export type DwarfValue = number | string | undefined;

/** Reads forward; past the end it throws. Every read moves on, so that a loop of reads ends. */
export class DwarfReader {
  at: number;
  readonly end: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #little: boolean;

  constructor(bytes: Uint8Array, little: boolean, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#little = little;
    this.at = start;
    this.end = Math.min(end, bytes.length);
    if (start > this.end) throw malformed(`a reference to byte ${start} of ${bytes.length}`);
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  skip(sizeBytes: number): number {
    const from = this.at;
    // Written so that a number beyond counting (NaN) is refused as well.
    if (!(sizeBytes >= 0 && from + sizeBytes <= this.end)) {
      throw malformed(`an end at byte ${this.end}, before ${from + sizeBytes}`);
    }
    this.at += sizeBytes;
    return from;
  }

  u8(): number {
    return this.#bytes[this.skip(1)] as number;
  }
  i8(): number {
    return this.#view.getInt8(this.skip(1));
  }
  u16(): number {
    return this.#view.getUint16(this.skip(2), this.#little);
  }
  u32(): number {
    return this.#view.getUint32(this.skip(4), this.#little);
  }

  /** Unsigned LEB128; what does not fit is no number (NaN or Infinity), which `skip` refuses. */
  uleb(): number {
    // Nearly all are of one byte.
    const first = this.#bytes[this.at] as number;
    if (first < 0x80 && this.at < this.end) {
      this.at++;
      return first;
    }
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }
  sleb(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return (byte & 0x40) === 0 ? value : value - factor * 128;
    }
  }

  text(): string {
    const from = this.at;
    const rest = this.#bytes.subarray(from, this.end);
    const sizeBytes = rest.indexOf(0);
    // The terminator is part of the string; one without it ends too late.
    this.skip((sizeBytes < 0 ? rest.length : sizeBytes) + 1);
    return textAt(rest, 0, NAME_SIZE_BYTES_MAX);
  }

  /** The length of a unit and its end [DWARF-5 §7.4]; the 64-bit format is refused. */
  unitEnd(): number {
    const length = this.u32();
    if (length >= 0xfffffff0) throw malformed('the 64-bit format of DWARF');
    const end = this.at + length;
    if (end > this.end) throw malformed(`a unit that ends at byte ${end} of ${this.end}`);
    return end;
  }
}

/** Sections that strings are in. */
export interface DwarfStrings {
  readonly str: Uint8Array;
  readonly lineStr: Uint8Array;
}

/** The string sections of an ELF file, empty where there is none. */
export function dwarfStrings(elf: Elf): DwarfStrings {
  const bytes = (name: string) => elf.sections.find((section) => section.name === name)?.bytes;
  return {
    str: bytes('.debug_str') ?? new Uint8Array(),
    lineStr: bytes('.debug_line_str') ?? new Uint8Array(),
  };
}

/** Sizes of the forms that have one [DWARF-5 §7.5.6]; addresses are 4 bytes. */
const FIXED: Readonly<Record<number, number>> = {
  1: 4, // addr
  5: 2, // data2
  6: 4, // data4
  7: 8, // data8
  11: 1, // data1
  12: 1, // flag
  16: 4, // ref_addr
  17: 1, // ref1
  18: 2, // ref2
  19: 4, // ref4
  20: 8, // ref8
  23: 4, // sec_offset
  28: 4, // ref_sup4
  29: 4, // strp_sup
  30: 16, // data16
  32: 8, // ref_sig8
  36: 8, // ref_sup8
  37: 1, // strx1
  38: 2, // strx2
  39: 3, // strx3
  40: 4, // strx4
  41: 1, // addrx1
  42: 2, // addrx2
  43: 3, // addrx3
  44: 4, // addrx4
};

/** Reads one value of a form: numbers and text where somebody needs them, others are skipped. */
export function readForm(reader: DwarfReader, form: number, strings: DwarfStrings): DwarfValue {
  switch (form) {
    case 8: // string
      return reader.text();
    case 14: // strp
      return textAt(strings.str, reader.u32(), NAME_SIZE_BYTES_MAX);
    case 31: // line_strp
      return textAt(strings.lineStr, reader.u32(), NAME_SIZE_BYTES_MAX);
    case 5: // data2
      return reader.u16();
    case 6: // data4
    case 23: // sec_offset
      return reader.u32();
    case 11: // data1
      return reader.u8();
    case 15: // udata
    case 21: // ref_udata
    case 26: // strx
    case 27: // addrx
    case 34: // loclistx
    case 35: // rnglistx
      return reader.uleb();
    case 13: // sdata
      return reader.sleb();
    case 9: // block
    case 24: // exprloc
      reader.skip(reader.uleb());
      return undefined;
    case 10: // block1
      reader.skip(reader.u8());
      return undefined;
    case 3: // block2
      reader.skip(reader.u16());
      return undefined;
    case 4: // block4
      reader.skip(reader.u32());
      return undefined;
    case 25: // flag_present
    case 33: // implicit_const, whose value is in the abbreviation
      return undefined;
    default: {
      const sizeBytes = FIXED[form];
      if (sizeBytes === undefined) throw malformed(`form ${form}`);
      reader.skip(sizeBytes);
      return undefined;
    }
  }
}

export function malformed(got: string) {
  return BUILDER.reject(
    'SBOM_EVIDENCE_MALFORMED',
    `expected line information in DWARF 2 to 5, got ${quote(got)}`,
  );
}
