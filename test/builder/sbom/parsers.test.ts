// SPDX-License-Identifier: Apache-2.0
// Depfiles, control files, copyright files, SPDX tags; and every reader of evidence on arbitrary bytes.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDepfile } from '../../../builder/depfile.ts';
import { parseElf } from '../../../builder/elf.ts';
import { licenceOf, taggedLicence } from '../../../builder/licence.ts';
import { objectsWithDiscards, parseLinkerMap } from '../../../builder/linker-map.ts';
import { parseControl } from '../../../builder/package-control.ts';
import { Rejection } from '../../../core/faults.ts';

test('a depfile gives its rules, those of several files one after another', () => {
  const text = `main.o sub/main.d : src/main.c \\\n a\\ b.h c:d.h \\
 price$$.h\n\na\\ b.h:\nother.o: other.S\r\n`;
  const prerequisites = ['src/main.c', 'a b.h', 'c:d.h', 'price$.h'];
  expect(parseDepfile(text)).toEqual([
    { target: 'main.o', prerequisites },
    { target: 'sub/main.d', prerequisites },
    { target: 'other.o', prerequisites: ['other.S'] },
  ]);
});

test('objects of which the linker left something out', () => {
  const text = `Discarded input sections

 .text          0x00000000        0x0 whole.o
 .text.gone     0x00000000       0x20 part.o
 .text.a_name_that_is_long
                0x00000000        0x4 lib.a(member.o)

Memory Configuration

Linker script and memory map
 .text          0x00000000       0x20 later.o
`;
  expect([...objectsWithDiscards(text)]).toEqual(['part.o', 'lib.a(member.o)']);
  expect(objectsWithDiscards('Linker script and memory map')).toEqual(new Set());
});

describe('a control file', () => {
  test('says maintainer, source and homepage', () => {
    const text = `Package: libnewlib-arm-none-eabi
Source: newlib
Version: 3.3.0-1
Maintainer: Debian GCC Maintainers <debian-gcc@example.org>
Homepage: https://sourceware.org/newlib/
Description: C library
 Version: 9
`;
    expect(parseControl(text)).toEqual({
      maintainer: 'Debian GCC Maintainers',
      email: 'debian-gcc@example.org',
      source: 'newlib 3.3.0-1',
      homepage: 'https://sourceware.org/newlib/',
    });
    expect(parseControl('Package: a\nVersion: 1+b1\nSource: b (1)\n')).toEqual({ source: 'b 1' });
    expect(parseControl('Package: a\nVersion: 2\nMaintainer: nobody\nHomepage: none\n')).toEqual({
      source: 'a 2',
    });
  });
});

describe('a copyright file', () => {
  const of = (...paragraphs: string[]) => ['Format: https://example/1.0/', ...paragraphs].join('\n\n');
  test.each([
    [
      'one licence for all',
      of('Files: *\nLicense: GPL-2+ or Expat', 'Files: debian/*\nLicense: GPL-3'),
      'GPL-2.0-or-later OR MIT',
    ],
    ['the same in each paragraph', of('Files: *\nLicense: Expat', 'Files: a/*\nLicense: Expat'), 'MIT'],
    ['two that could hold', of('Files: *\nLicense: Expat', 'Files: a/*\nLicense: ISC'), undefined],
    ['nothing for all', of('Files: a/*\nLicense: ISC'), undefined],
    [
      'an exception, which has many spellings',
      of('Files: *\nLicense: GPL-2+ with Font exception'),
      undefined,
    ],
    ['a licence of its own', of('Files: *\nLicense: Newlib'), undefined],
  ])('with %s', (_, text, expected) => {
    expect(licenceOf(text, 'usr/lib/libx.a')).toBe(expected);
  });
});

test.each([
  ['// SPDX-License-Identifier: Apache-2.0\nint a;', 'Apache-2.0'],
  ['/* SPDX-License-Identifier: MIT OR ISC */', 'MIT OR ISC'],
  ['<!-- SPDX-License-Identifier: MIT -->', 'MIT'],
  ['# SPDX-License-Identifier: MYT', undefined],
  ['int main;', undefined],
  [`${'x'.repeat(5000)}SPDX-License-Identifier: MIT`, undefined],
])('the tag in %j is %s', (text, expected) => expect(taggedLicence(Buffer.from(text))).toBe(expected));

describe('any text or bytes', () => {
  const readers: readonly [string, (bytes: Uint8Array, text: string) => unknown][] = [
    ['linker map', (_, text) => parseLinkerMap(`Linker script and memory map${text}`)],
    ['discards', (_, text) => objectsWithDiscards(`Discarded input sections${text}`)],
    ['depfile', (_, text) => parseDepfile(text)],
    ['control file', (_, text) => parseControl(text)],
    ['copyright file', (_, text) => licenceOf(`Format: x\n\nFiles: *\n${text}`, 'usr/x')],
    ['tag', (bytes) => taggedLicence(bytes)],
    ['ELF file', (bytes) => parseElf(Buffer.concat([Buffer.from('\x7fELF\x01\x01'), bytes]))],
  ];
  test.each(readers)('%s: nothing but refusals', (_, read) => {
    const line = fc.constantFrom(
      ' .text',
      '0x0',
      '0x10',
      ':',
      '\\',
      'a.o',
      '\n',
      ' ',
      'License:',
      'Files:',
      '(',
      '<a@b>',
      'Maintainer: x',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(line).map((parts) => parts.join('')),
      fc.array(line).map((parts) => parts.join(' ')),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), text, (bytes, any) => {
        try {
          read(bytes, any);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
      }),
    );
  });

  test.each(readers)(
    '%s: in time that grows with the length',
    (_, read) => {
      for (const unit of [
        ' ',
        'a',
        '\\\n',
        'a:',
        ' .text 0x0 ',
        '<',
        ' 0x',
        '\n',
        'Files: a\n ',
        ')(',
        'MIT AND ',
      ]) {
        const text = unit.repeat(Math.ceil(400_000 / unit.length));
        const startedMs = performance.now();
        try {
          read(Buffer.from(text), text);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
        expect(performance.now() - startedMs, JSON.stringify(unit)).toBeLessThan(4000);
      }
    },
    60_000,
  );
});
