// SPDX-License-Identifier: Apache-2.0
// What is in an image: linker map, ELF sections, line information, licences; and what they prove together.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseElf } from '../../builder/elf.ts';
import type { EvidenceStep } from '../../builder/input-files.ts';
import { licenceOf } from '../../builder/licence.ts';
import { parseLinkerMap } from '../../builder/linker-map.ts';
import type { LockedPackage } from '../../builder/lock-file.ts';
import { findShipped, type ImageEvidence } from '../../builder/shipped.ts';
import { readSourceLines } from '../../builder/stabs.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-shipped-'));
afterAll(() => rmSync(base, { recursive: true }));

/** A 32-bit little-endian ELF file with the given sections. */
function makeElf(
  sections: readonly { name: string; type?: number; address?: number; bytes: Buffer; loaded?: boolean }[],
  machine = 83,
): Buffer {
  const names = Buffer.from(`\0${sections.map(({ name }) => name).join('\0')}\0.shstrtab\0`);
  const all = [...sections, { name: '.shstrtab', bytes: names }];
  const head = Buffer.alloc(52);
  const bodies: Buffer[] = [];
  const headers = [Buffer.alloc(40)];
  let offset = 52;
  for (const { name, bytes, ...rest } of all) {
    const header = Buffer.alloc(40);
    const loaded = 'loaded' in rest ? rest.loaded : false;
    const fields = [
      names.indexOf(`\0${name}\0`) + 1,
      'type' in rest ? (rest.type ?? 1) : 1,
      loaded === true ? 2 : 0,
      rest.address ?? 0,
      offset,
      bytes.length,
    ];
    for (const [i, field] of fields.entries()) header.writeUInt32LE(field, 4 * i);
    headers.push(header);
    bodies.push(bytes);
    offset += bytes.length;
  }
  head.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  head.writeUInt16LE(machine, 18);
  head.writeUInt32LE(offset, 32);
  head.writeUInt16LE(40, 46);
  head.writeUInt16LE(headers.length, 48);
  head.writeUInt16LE(headers.length - 1, 50);
  return Buffer.concat([head, ...bodies, ...headers]);
}

/** Stabs entries: type, text or undefined, value. */
function makeStabs(entries: readonly (readonly [number, string | undefined, number])[]): [Buffer, Buffer] {
  let strings = '\0';
  const stab = entries.map(([type, text, value]) => {
    const entry = Buffer.alloc(12);
    if (text !== undefined) {
      entry.writeUInt32LE(strings.length, 0);
      strings += `${text}\0`;
    }
    entry.writeUInt8(type, 4);
    entry.writeUInt32LE(value, 8);
    return entry;
  });
  return [Buffer.concat(stab), Buffer.from(strings)];
}

const MAP = `Archive member included to satisfy reference by file (symbol)

/usr/lib/gcc/avr/5.4.0/libgcc.a(_mulsi3.o)
                              main.o (__mulsi3)

Discarded input sections

 .text.unused   0x0000000000000000       0x20 unused.o

Linker script and memory map

LOAD main.o
LOAD /usr/lib/gcc/avr/5.4.0/../5.4.0/libgcc.a

.text           0x0000000000001000       0x50
 *(.vectors)
 .text          0x0000000000001000       0x20 main.o
                0x0000000000001000                main
 .text.averylongsectionname
                0x0000000000001020       0x10 vendored.o
 .text.zero     0x0000000000001030        0x0 main.o
 *fill*         0x0000000000001030        0x2 
 .text.libgcc   0x0000000000001032       0x1e /usr/lib/gcc/avr/5.4.0/../5.4.0/libgcc.a(_mulsi3.o)
 .trampolines   0x0000000000001050        0x0 linker stubs

.data           0x0000000000800100        0x8 load address 0x0000000000001050
 .data          0x0000000000800100        0x8 main.o

.bss            0x0000000000800108       0x10
 .bss           0x0000000000800108       0x10 main.o

.debug_info     0x0000000000000000       0x99
 .debug_info    0x0000000000000000       0x99 /usr/lib/avr/lib/debug.o
OUTPUT(a.elf elf32-avr)
`;

describe('a linker map', () => {
  test('gives what was placed, not what was discarded or is empty', () => {
    expect(parseLinkerMap(MAP)).toEqual([
      { outputSection: '.text', inputSection: '.text', address: 0x1000, sizeBytes: 0x20, object: 'main.o' },
      {
        outputSection: '.text',
        inputSection: '.text.averylongsectionname',
        address: 0x1020,
        sizeBytes: 0x10,
        object: 'vendored.o',
      },
      {
        outputSection: '.text',
        inputSection: '.text.libgcc',
        address: 0x1032,
        sizeBytes: 0x1e,
        object: '/usr/lib/gcc/avr/5.4.0/../5.4.0/libgcc.a(_mulsi3.o)',
      },
      { outputSection: '.data', inputSection: '.data', address: 0x800100, sizeBytes: 8, object: 'main.o' },
      { outputSection: '.bss', inputSection: '.bss', address: 0x800108, sizeBytes: 0x10, object: 'main.o' },
      {
        outputSection: '.debug_info',
        inputSection: '.debug_info',
        address: 0,
        sizeBytes: 0x99,
        object: '/usr/lib/avr/lib/debug.o',
      },
    ]);
  });

  test('of another kind is refused', () => {
    expect(() => parseLinkerMap('Map of something')).toThrow(
      expect.objectContaining({ code: 'SBOM_EVIDENCE_MALFORMED' }),
    );
  });
});

describe('an ELF file', () => {
  test('gives its sections', () => {
    const elf = parseElf(
      makeElf([{ name: '.text', address: 0x1000, bytes: Buffer.from('code'), loaded: true }]),
    );
    expect(elf.sections[1]).toMatchObject({ name: '.text', loaded: true, address: 0x1000 });
    expect(Buffer.from(elf.sections[1]?.bytes ?? []).toString()).toBe('code');
    expect(elf.sections[2]?.loaded).toBe(false);
  });

  test('holds, beside program, tables of functions and for unwinding, not what the linker wrote itself', () => {
    const ARM = 40;
    const loaded = (type: number, machine = ARM) => {
      const bytes = Buffer.from('content');
      return parseElf(makeElf([{ name: '.x', type, bytes, loaded: true }], machine)).sections[1]?.loaded;
    };
    const [INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY, NOTE, DYNSYM, EXIDX] = [14, 15, 16, 7, 11, 0x70000001];
    expect([1, INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY, EXIDX].map((type) => loaded(type))).toEqual(
      Array(5).fill(true),
    );
    expect([NOTE, DYNSYM].map((type) => loaded(type))).toEqual([false, false]);
    expect(loaded(EXIDX, 83)).toBe(false);
  });

  test.each([
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.alloc(100, 'x')],
    ['cut', makeElf([{ name: '.text', bytes: Buffer.alloc(100) }]).subarray(0, 120)],
    ['without its table', makeElf([{ name: '.text', bytes: Buffer.alloc(100) }]).subarray(0, 160)],
  ])('%s is refused', (_, bytes) => {
    expect(() => parseElf(bytes)).toThrow(expect.objectContaining({ code: 'SBOM_EVIDENCE_MALFORMED' }));
  });
});

const CODE = Buffer.from(Array.from({ length: 0x50 }, (_, i) => (i * 37 + 11) & 0xff));
const DATA = Buffer.from('datadata');
const [STAB, STABSTR] = makeStabs([
  [0x00, undefined, 0],
  [0x64, '/build/', 0x1000],
  [0x64, 'main.c', 0x1000],
  [0x24, 'main:F(0,1)', 0x1000],
  [0x44, undefined, 0],
  [0x84, '/usr/lib/avr/include/util/delay.h', 0x1008],
  [0x44, undefined, 0x08],
  [0x84, 'main.c', 0x1010],
  [0x44, undefined, 0x10],
  [0x24, '', 0x20],
  [0x64, '', 0x1020],
  [0x64, '/build/', 0x1020],
  [0x64, 'vendored.c', 0x1020],
  [0x24, 'vendored:F(0,1)', 0x1020],
  [0x44, undefined, 0],
]);

test('a folder that was mapped to “.” in stabs means the folder of the step', () => {
  const [stab, stabstr] = makeStabs([
    [0x00, undefined, 0],
    [0x64, './', 0x1000],
    [0x64, 'main.c', 0x1000],
    [0x24, 'main:F(0,1)', 0x1000],
    [0x44, undefined, 0],
  ]);
  const elf = makeElf([
    { name: '.stab', bytes: stab },
    { name: '.stabstr', bytes: stabstr },
  ]);
  expect(readSourceLines(parseElf(elf))).toEqual([{ address: 0x1000, path: '/build/main.c' }]);
});

const entry = (name: string): LockedPackage => ({
  name,
  version: '1',
  architecture: 'all',
  sha256: name,
  sizeBytes: 1,
  path: 'x.deb',
});
const [SOURCES, LIBC, GCC, TOOLS] = ['sources', 'avr-libc', 'gcc-avr', 'tools'].map(entry) as [
  LockedPackage,
  LockedPackage,
  LockedPackage,
  LockedPackage,
];

function evidence(more: Partial<ImageEvidence> = {}, step: Partial<EvidenceStep> = {}): ImageEvidence {
  const owners = new Map<string, LockedPackage>();
  const place = (path: string, text: string, owner: LockedPackage) => {
    mkdirSync(dirname(join(base, path)), { recursive: true });
    writeFileSync(join(base, path), text);
    owners.set(path, owner);
  };
  place('usr/src/main.c', 'main', SOURCES);
  place('usr/src/unused.c', 'unused', SOURCES);
  place('usr/lib/avr/include/util/delay.h', 'delay', LIBC);
  place('usr/lib/gcc/avr/5.4.0/libgcc.a', 'archive', GCC);
  place('usr/lib/avr/lib/debug.o', 'debug', TOOLS);
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  return {
    image: Buffer.concat([CODE, DATA]),
    map: MAP,
    elf: makeElf([
      { name: '.text', address: 0x1000, bytes: CODE, loaded: true },
      { name: '.data', address: 0x800100, bytes: DATA, loaded: true },
      { name: '.stab', bytes: STAB },
      { name: '.stabstr', bytes: STABSTR },
    ]),
    linkStep: 'make',
    mapFile: 'main.map',
    steps: [
      {
        name: 'make',
        root: { folder: base, key: '', owners, records: new Map() },
        workFiles: new Map([
          ['main.c', sha256('main')],
          ['vendored.c', sha256('from nowhere')],
        ]),
        outputs: new Map(),
        mounted: [],
        inputsOf: new Map(),
        sourcePackages: new Set(['sources']),
        ...step,
      },
    ],
    depfiles: [],
    components: [],
    ...more,
  };
}
const named = async (more: Partial<ImageEvidence> = {}, step: Partial<EvidenceStep> = {}) => {
  const shipped = await findShipped(evidence(more, step));
  return {
    ...shipped,
    packages: Object.fromEntries([...shipped.packages].map(([{ name }, places]) => [name, places])),
  };
};

describe('what ships', () => {
  test('are sources of objects, headers with code of their own, and archive members; not what is only nearby', async () => {
    const shipped = await named();
    expect(shipped.packages).toEqual({
      sources: [{ path: 'usr/src/main.c', sizeBytes: 0x18 }],
      'avr-libc': [{ path: 'usr/lib/avr/include/util/delay.h', sizeBytes: 8 }],
      'gcc-avr': [{ path: 'usr/lib/gcc/avr/5.4.0/libgcc.a', member: '_mulsi3.o', sizeBytes: 0x1e }],
    });
  });

  test('what no package accounts for is a named gap', async () => {
    expect((await named()).gaps).toEqual([
      '16 bytes of vendored.o from /build/vendored.c, of no component',
      // A run of ASCII that stands in no function.
      '8 bytes of main.o(.data) without a source line',
    ]);
  });

  test('bytes that the image does not hold prove nothing', async () => {
    const image = Buffer.concat([CODE, DATA]);
    image[5] = 0xff;
    const shipped = await named({ image });
    expect(Object.keys(shipped.packages)).toEqual(['gcc-avr']);
    expect(shipped.gaps).toContain('32 bytes of main.o(.text) are not found in the image as linked');
    expect(shipped.linkedSizeBytes).toBe(0x20 + 0x10 + 0x1e + 8);
    expect(shipped.verbatimSizeBytes).toBe(0x10 + 0x1e + 8);
    expect((await named({ image: Buffer.from('compressed') })).packages).toEqual({});
  });

  test('a few bytes, or many of one kind, are no proof by themselves, but in a section that is there whole', async () => {
    const map = MAP.replace(/0x1e (?=\/usr)/, ' 0x4 ');
    expect(Object.keys((await named({ map })).packages)).toContain('gcc-avr');
    const changed = (bytes: Buffer) =>
      Buffer.concat([Buffer.from([bytes.readUInt8(0) ^ 1]), bytes.subarray(1)]);
    expect(Object.keys((await named({ map, image: changed(CODE) })).packages)).not.toContain('gcc-avr');
    const flat = Buffer.from(CODE).fill(0xff, 0x32);
    const elf = makeElf([{ name: '.text', address: 0x1000, bytes: flat, loaded: true }]);
    expect(Object.keys((await named({ elf, image: changed(flat) })).packages)).not.toContain('gcc-avr');
  });

  test('bytes of the image that nobody linked are a gap', async () => {
    const image = Buffer.concat([CODE, DATA, Buffer.from('\xff\xffmerged')]);
    expect((await named({ image })).gaps).toContain(
      `${Buffer.from('\xff\xffmerged').length} bytes of the image come from no linked section as linked`,
    );
    const fill = Buffer.concat([CODE, Buffer.alloc(9, 0xff), DATA, Buffer.alloc(9)]);
    expect((await named({ image: fill })).gaps.join()).not.toContain('no linked section');
  });

  test('a copy that was changed is not the package any more', async () => {
    const shipped = await named({}, { workFiles: new Map([['main.c', 'f'.repeat(64)]]) });
    expect(Object.keys(shipped.packages)).not.toContain('sources');
    expect(shipped.gaps).toContain('24 bytes of main.o from /build/main.c, of no component');
  });

  test('a copy of a file of the toolchain counts as no source', async () => {
    expect(Object.keys((await named({}, { sourcePackages: new Set() })).packages)).not.toContain('sources');
  });

  test('without line information, objects of the step are gaps', async () => {
    const elf = makeElf([{ name: '.text', address: 0x1000, bytes: CODE, loaded: true }]);
    expect(readSourceLines(parseElf(elf))).toEqual([]);
    expect((await named({ elf })).gaps).toContain('32 bytes of main.o(.text) without a source line');
  });
});

describe('a licence', () => {
  const text = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-2+

Files: boot/boot.h
 boot/main.c
Copyright: somebody else
License: BSD-3-clause

Files: odd.c
License: custom

Files: lib/*.c
License: Expat
`;
  test.each([
    ['usr/share/thing/boot/main.c', 'BSD-3-Clause'],
    ['usr/share/thing/boot/boot.h', 'BSD-3-Clause'],
    ['usr/share/thing/xboot/boot.h', undefined],
    ['usr/share/thing/other.c', undefined],
    ['usr/share/thing/odd.c', undefined],
    ['usr/share/thing/lib/a.c', undefined],
  ])('of %s is %s', (path, expected) => {
    expect(licenceOf(text, path)).toBe(expected);
  });

  test.each([
    ['thing-1/boot/main.c', 'BSD-3-Clause'],
    ['boot/main.c', 'BSD-3-Clause'],
    ['thing-1/sub/boot/main.c', undefined],
    ['thing-1/other.c', undefined],
  ])('of %s in an archive is %s', (member, expected) => {
    expect(licenceOf(text, 'usr/src/thing.tar.gz', member)).toBe(expected);
  });

  test('of a copyright file for people is unknown', () => {
    expect(licenceOf('This is free software.\nFiles: a.c\nLicense: Expat\n', 'a.c')).toBeUndefined();
  });
});
