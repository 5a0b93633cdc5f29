// SPDX-License-Identifier: Apache-2.0
// Line information in stabs form [GDB-stabs §Line Numbers, §Source Files], which avr-gcc writes by default: which source file
// which code came from, macros and inlined functions of headers included. DWARF is not read.

import { posix } from 'node:path';
import { type Elf, textAt } from './elf.ts';

/** Code at `address` came from a source file, whose path is as the compiler saw it, made absolute. */
export interface SourceLine {
  readonly address: number;
  readonly path: string;
}

const N_UNDF = 0x00;
const N_FUN = 0x24;
const N_SLINE = 0x44;
const N_SO = 0x64;
const N_SOL = 0x84;
const ENTRY_SIZE = 12;
/** Where a compiler runs: what it was told to name relatively is below. */
const WORK = '/build';

/** Every line entry of every function, in file order; empty if the ELF file has no stabs. */
export function readSourceLines(elf: Elf): SourceLine[] {
  const stab = elf.sections.find((section) => section.name === '.stab')?.bytes;
  const strings = elf.sections.find((section) => section.name === '.stabstr')?.bytes;
  if (stab === undefined || strings === undefined) return [];
  const view = new DataView(stab.buffer, stab.byteOffset, stab.byteLength);
  const lines: SourceLine[] = [];
  let [stringsStart, stringsNext] = [0, 0];
  let folder = '';
  let path = '';
  let functionAddress = 0;
  for (let at = 0; at + ENTRY_SIZE <= stab.length; at += ENTRY_SIZE) {
    const type = view.getUint8(at + 4);
    const value = view.getUint32(at + 8, elf.littleEndian);
    const text = textAt(strings, stringsStart + view.getUint32(at, elf.littleEndian));
    if (type === N_UNDF) {
      // Head of one object's stabs: its strings start where those of the object before ended.
      stringsStart = stringsNext;
      stringsNext += value;
    } else if (type === N_SO) {
      // A folder comes first and ends in a slash; an empty name closes the unit.
      if (text.endsWith('/')) folder = text;
      else path = text === '' ? '' : posix.resolve(WORK, folder, text);
    } else if (type === N_SOL) {
      path = posix.resolve(WORK, folder, text);
    } else if (type === N_FUN && text !== '') {
      functionAddress = value;
    } else if (type === N_SLINE && path !== '') {
      lines.push({ address: functionAddress + value, path });
    }
  }
  return lines;
}
