// SPDX-License-Identifier: Apache-2.0
// Line information in DWARF: fixtures made by gcc 12 for Cortex-M from one source and one header with code of its own.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readLineTables } from '../../../builder/dwarf-lines.ts';
import { type Elf, type ElfSection, parseElf } from '../../../builder/elf.ts';
import { Rejection } from '../../../core/faults.ts';

const fixture = (name: string) => parseElf(readFileSync(new URL(`fixtures/${name}.elf`, import.meta.url)));

/** The same file with some sections changed. */
function altered(elf: Elf, change: (section: ElfSection) => Uint8Array): Elf {
  return { ...elf, sections: elf.sections.map((section) => ({ ...section, bytes: change(section) })) };
}

/** Versions 2 and 3 differ in nothing that this fixture uses but the number. */
function asVersion2(elf: Elf): Elf {
  return altered(elf, ({ name, bytes }) => {
    const copy = Buffer.from(bytes);
    if (name === '.debug_line' || name === '.debug_info') copy.writeUInt16LE(2, 4);
    return copy;
  });
}

describe('line information', () => {
  test.each([
    ['2', asVersion2(fixture('dwarf3'))],
    ['3', fixture('dwarf3')],
    ['4', fixture('dwarf4')],
    ['5', fixture('dwarf5')],
  ])('of DWARF %s names the source and the header whose code was inlined', (_, elf) => {
    const { tables, gaps } = readLineTables(elf);
    expect(gaps).toEqual([]);
    expect(tables).toHaveLength(1);
    expect(tables[0]).toMatchObject({ offset: 0, source: '/build/fx/unit.c' });
    const rows = tables[0]?.rows ?? [];
    expect(new Set(rows.map(({ path }) => path))).toEqual(
      new Set(['/build/fx/unit.c', '/build/fx/inline.h', undefined]),
    );
    const text = elf.sections.find(({ name }) => name === '.text');
    const [start, end] = [text?.address ?? 0, (text?.address ?? 0) + (text?.bytes.length ?? 0)];
    expect(rows[0]?.address).toBe(start);
    // The end of the run of code: constants follow it in the section.
    expect(rows.at(-1)?.path).toBeUndefined();
    expect(rows.every(({ address }) => address >= start && address <= end)).toBe(true);
  });

  test.each(['dwarf3', 'dwarf4', 'dwarf5'])(
    'whose folder was mapped to “.” means the folder of the step: %s',
    (name) => {
      const mapped = altered(fixture(name), ({ bytes }) => {
        const text = Buffer.from(bytes).toString('latin1');
        return Buffer.from(text.replaceAll('/build/fx\0', '././././.\0'), 'latin1');
      });
      const { tables } = readLineTables(mapped);
      expect(tables[0]?.source).toBe('/build/unit.c');
      expect(new Set(tables[0]?.rows.map(({ path }) => path))).toContain('/build/inline.h');
    },
  );

  test.each(['compressed', 'compressed-gnu'])('that is %s is a named gap', (name) => {
    const { tables, gaps } = readLineTables(fixture(name));
    expect(tables).toEqual([]);
    expect(gaps).toEqual([expect.stringMatching(/^\.debug_line, .*compressed.*-gz=none$/)]);
  });

  test('of 64-bit files is a named gap; none at all is none', () => {
    expect(readLineTables({ ...fixture('dwarf5'), wide: true }).gaps).toEqual([
      expect.stringContaining('64-bit'),
    ]);
    const none = { ...fixture('dwarf5'), sections: [] };
    expect(readLineTables(none)).toEqual({ tables: [], gaps: [] });
  });

  test.each([
    ['a version', 4, 9, 'version 9'],
    ['a length', 3, 0xff, '64-bit|ends at'],
    ['a range of nothing', 17, 0, 'without a range'],
  ])('with %s that cannot be is refused', (_, at, value, said) => {
    const elf = altered(fixture('dwarf5'), ({ name, bytes }) => {
      const copy = Buffer.from(bytes);
      if (name === '.debug_line') copy.writeUInt8(value, at);
      return copy;
    });
    expect(() => readLineTables(elf)).toThrow(
      expect.objectContaining({
        code: 'SBOM_EVIDENCE_MALFORMED',
        message: expect.stringMatching(new RegExp(said)),
      }),
    );
  });

  test('of arbitrary bytes throws nothing but refusals', () => {
    const elves = ['dwarf3', 'dwarf4', 'dwarf5'].map(fixture);
    const edit = fc.tuple(fc.nat(5), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(255));
    fc.assert(
      fc.property(fc.nat(2), fc.array(edit, { minLength: 1, maxLength: 12 }), (which, edits) => {
        const elf = altered(elves[which] as Elf, ({ name, bytes }) => {
          const copy = Buffer.from(bytes);
          for (const [section, place, value] of edits) {
            const edited = ['.debug_line', '.debug_info', '.debug_abbrev', '.debug_str'][section % 4];
            if (name === edited) copy[Math.floor(place * (copy.length - 1))] = value;
          }
          return copy;
        });
        refusesOrReads(() => readLineTables(elf));
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 60 }), (lines, rest) => {
        const elf = altered(elves[2] as Elf, ({ name, bytes }) =>
          name === '.debug_line' ? lines : name.startsWith('.debug') ? rest : bytes,
        );
        refusesOrReads(() => readLineTables(elf));
      }),
      { numRuns: 500 },
    );
  });

  test('takes time in proportion, also when units share or overlap their abbreviations', () => {
    // 20,000 units, each of which refers to another place of one long table without the code it asks for.
    const units = Buffer.alloc(20_000 * 12);
    for (let i = 0; i < 20_000; i++) {
      units.writeUInt32LE(8, i * 12);
      units.writeUInt16LE(4, i * 12 + 4);
      units.writeUInt32LE(i * 5, i * 12 + 6);
      units.writeUInt8(4, i * 12 + 10);
      units.writeUInt8(9, i * 12 + 11);
    }
    const table = Buffer.from(Array.from({ length: 20_000 }, () => [1, 17, 0, 0, 0]).flat());
    const elf = altered(fixture('dwarf4'), ({ name, bytes }) =>
      name === '.debug_info' ? units : name === '.debug_abbrev' ? table : bytes,
    );
    const startedMs = performance.now();
    expect(() => readLineTables(elf)).toThrow(expect.objectContaining({ code: 'SBOM_EVIDENCE_MALFORMED' }));
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});

function refusesOrReads(run: () => unknown): void {
  try {
    run();
  } catch (failure) {
    expect(failure).toBeInstanceOf(Rejection);
  }
}
