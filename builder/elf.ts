// SPDX-License-Identifier: Apache-2.0
// Section headers of an ELF file [ELF-gABI-4.2 §Sections], 32 and 64 bit, both byte orders. Only what evidence needs.

import { BUILDER } from './faults.ts';

export interface ElfSection {
  readonly name: string;
  /** SHF_ALLOC, of a type that holds what was compiled: its bytes are in memory when the firmware runs, and come from the file. */
  readonly loaded: boolean;
  /** SHF_COMPRESSED: the bytes are not what the name says. */
  readonly compressed: boolean;
  readonly address: number;
  readonly bytes: Uint8Array;
}

export interface Elf {
  readonly littleEndian: boolean;
  /** 64-bit. */
  readonly wide: boolean;
  readonly sections: readonly ElfSection[];
}

const SHT_NOBITS = 8;
/**
 * Types of sections whose content comes out of objects: program, and tables of functions to call at the start and the end. Loaded sections of
 * other types (notes, symbols, relocations) the linker writes itself.
 */
const COMPILED_TYPES = [1, 14, 15, 16];
/** Tables for unwinding [AAELF32-2023Q3 §Section Types]; the number means something else on other machines. */
const [SHT_ARM_EXIDX, EM_ARM] = [0x70000001, 40];
const SHF_ALLOC = 2;
const SHF_COMPRESSED = 0x800;

/** Parses the sections. @throws SBOM_EVIDENCE_MALFORMED */
export function parseElf(bytes: Uint8Array): Elf {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bad = (got: string) =>
    BUILDER.reject('SBOM_EVIDENCE_MALFORMED', `expected an ELF file with sections, got ${got}`);
  if (bytes.length < 52 || view.getUint32(0) !== 0x7f454c46) throw bad('another file');
  const wide = bytes[4] === 2;
  const little = bytes[5] === 1;
  const word = (at: number) => (wide ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little));
  try {
    const table = word(wide ? 40 : 32);
    const entrySize = view.getUint16(wide ? 58 : 46, little);
    const count = view.getUint16(wide ? 60 : 48, little);
    const namesIndex = view.getUint16(wide ? 62 : 50, little);
    const header = (index: number) => {
      const at = table + index * entrySize;
      return {
        name: view.getUint32(at, little),
        type: view.getUint32(at + 4, little),
        flags: word(at + 8),
        address: word(at + (wide ? 16 : 12)),
        offset: word(at + (wide ? 24 : 16)),
        size: word(at + (wide ? 32 : 20)),
      };
    };
    const names = header(namesIndex);
    const machine = view.getUint16(18, little);
    const isCompiled = (type: number) =>
      COMPILED_TYPES.includes(type) || (machine === EM_ARM && type === SHT_ARM_EXIDX);
    const sections = Array.from({ length: count }, (_, index): ElfSection => {
      const { name, type, flags, address, offset, size } = header(index);
      if (type !== SHT_NOBITS && offset + size > bytes.length) throw new RangeError('a section past the end');
      return {
        name: textAt(bytes, names.offset + name),
        loaded: isCompiled(type) && (flags & SHF_ALLOC) !== 0,
        compressed: (flags & SHF_COMPRESSED) !== 0,
        address,
        bytes: type === SHT_NOBITS ? new Uint8Array() : bytes.subarray(offset, offset + size),
      };
    });
    return { littleEndian: little, wide, sections };
  } catch (cause) {
    if (cause instanceof RangeError) throw bad(cause.message);
    throw cause;
  }
}

/** Text up to the next NUL, Latin-1; at most so many bytes of it. */
export function textAt(bytes: Uint8Array, offset: number, sizeBytesMax = 65_536): string {
  const text = bytes.subarray(offset, offset + sizeBytesMax);
  const end = text.indexOf(0);
  return Buffer.from(text.buffer, text.byteOffset, end < 0 ? text.length : end).toString('latin1');
}
