// SPDX-License-Identifier: Apache-2.0
// `components:` and `hardware:` of a definition: whose files are, and what the image runs on.

import { describe, expect, test } from 'vitest';
import { isCpe } from '../../../builder/cpe.ts';
import { isLicenceExpression, joinLicences } from '../../../builder/licence-expression.ts';
import { parseParty } from '../../../builder/parts.ts';
import { readYaml, stepYaml, yamlOver } from '../definitions.ts';

const whole = (more: string) => readYaml(`${yamlOver({ keyring: 'keys.gpg' }, stepYaml('make'))}${more}`);
const COMPONENTS = `components:
  - name: crc16
    version: 1.2.0
    paths: [tools/usr/src/crc16]
    supplier: Example Check Sums
    licence: MIT OR (Apache-2.0 WITH LLVM-exception AND LicenseRef-mine)
    purl: pkg:generic/crc16@1.2.0
    cpe: cpe:2.3:a:example:crc16:1.2.0:*:*:*:*:*:*:*
  - name: radio
    embedded: [tools/usr/lib/radio.bin]
`;
const HARDWARE = `hardware:
  - name: Evaluation board
    kind: board
    supplier: Example Boards <https://boards.example/x>
    revision: B
  - name: LM3S6965
    kind: microcontroller
    partNumber: LM3S6965-IQC50-A2
`;

describe('a definition', () => {
  test('says whose files are and what the image runs on', () => {
    const { components, hardware } = whole(COMPONENTS + HARDWARE);
    expect(components).toEqual([
      {
        name: 'crc16',
        version: '1.2.0',
        paths: ['tools/usr/src/crc16'],
        embedded: [],
        supplier: 'Example Check Sums',
        licence: 'MIT OR (Apache-2.0 WITH LLVM-exception AND LicenseRef-mine)',
        purl: 'pkg:generic/crc16@1.2.0',
        cpe: 'cpe:2.3:a:example:crc16:1.2.0:*:*:*:*:*:*:*',
      },
      { name: 'radio', paths: [], embedded: ['tools/usr/lib/radio.bin'] },
    ]);
    expect(hardware).toEqual([
      {
        name: 'Evaluation board',
        kind: 'board',
        supplier: 'Example Boards <https://boards.example/x>',
        revision: 'B',
      },
      { name: 'LM3S6965', kind: 'microcontroller', partNumber: 'LM3S6965-IQC50-A2' },
    ]);
    expect(whole('')).toMatchObject({ components: [], hardware: [] });
  });

  test.each([
    ['an unknown input', COMPONENTS, 'tools/usr/src', 'nosuch/usr/src', 'starts with an input'],
    ['a way out', COMPONENTS, 'usr/src', '../src', 'plain segments'],
    ['a licence that is none', COMPONENTS, 'MIT OR', 'MYT OR', 'SPDX expression'],
    ['a CPE that is none', COMPONENTS, 'cpe:2.3:a', 'cpe:2.3:x', 'CPE 2.3'],
    ['a package URL that is none', COMPONENTS, 'pkg:generic', 'generic', 'package URL'],
    [
      'a supplier of two addresses',
      COMPONENTS,
      'Check Sums',
      'Check Sums <a@b.c> <d@e.f>',
      'a name, or a name with',
    ],
    ['a supplier without a name', COMPONENTS, 'Example Check Sums', '<a@b.c>', 'a name, or a name with'],
    ['an address that is none', COMPONENTS, 'Check Sums', 'Check Sums <ab.c>', 'a name, or a name with'],
    ['another URL', COMPONENTS, 'Check Sums', 'Check Sums <ftp://a.b>', 'a name, or a name with'],
    ['hardware by nobody', HARDWARE, 'Boards <https', 'Boards <<https', 'a name, or a name with'],
    ['nothing to claim', COMPONENTS, 'paths: [tools/usr/src/crc16]', 'paths: []', 'at least one entry'],
    ['two of one name', COMPONENTS, 'name: radio', 'name: crc16\n    version: 1.2.0', 'twice'],
    [
      'a path in two',
      COMPONENTS,
      'embedded: [tools/usr/lib/radio.bin]',
      'paths: [tools/usr/src/crc16]',
      'in two',
    ],
    ['an unknown member', COMPONENTS, 'supplier:', 'vendor:', 'unknown member'],
    ['hardware of an unknown kind', HARDWARE, 'kind: board', 'kind: brick', '"board" or'],
    ['hardware twice', HARDWARE, 'name: LM3S6965\n', 'name: Evaluation board\n    revision: B\n', 'twice'],
  ])('with %s is refused', (_, text, from, to, said) => {
    expect(text).toContain(from);
    expect(() => whole(text.replace(from, to))).toThrow(
      expect.objectContaining({ code: 'DEFINITION_MALFORMED', message: expect.stringContaining(said) }),
    );
  });
});

test.each([
  ['Sums', { name: 'Sums' }],
  ['Check Sums <a+b@sums.example>', { name: 'Check Sums', email: 'a+b@sums.example' }],
  ['Check Sums <https://sums.example/@us>', { name: 'Check Sums', url: 'https://sums.example/@us' }],
])('%s is a supplier', (text, party) => {
  expect(parseParty(text)).toEqual(party);
});

test.each([
  ['cpe:2.3:o:example:sensor\\_os:1.0:-:*:*:*:*:*:*', true],
  ['cpe:2.3:a:newlib_project:newlib:3.3.0:*:*:*:*:*:*:*', true],
  ['cpe:2.3:a:newlib_project:newlib:3.3.0', false],
  ['cpe:/a:example:old:1', false],
  ['cpe:2.3:a:spa ce:x:1:*:*:*:*:*:*:*', false],
])('%s is a CPE: %s', (text, expected) => expect(isCpe(text)).toBe(expected));

test.each([
  ['MIT', true],
  ['GPL-2.0-only WITH GCC-exception-2.0', true],
  ['(MIT OR Apache-2.0) AND BSD-3-Clause', true],
  ['LicenseRef-newlib', true],
  ['', false],
  ['MIT Apache-2.0', false],
  ['MIT AND', false],
  ['(MIT', false],
  ['MIT)', false],
  ['no-such-licence', false],
  ['MIT; rm', false],
])('%s is a licence expression: %s', (text, expected) => expect(isLicenceExpression(text)).toBe(expected));

test('licences of one component all hold', () => {
  expect(joinLicences([])).toBeUndefined();
  expect(joinLicences(['MIT', 'MIT'])).toBe('MIT');
  expect(joinLicences(['MIT OR ISC', 'BSD-3-Clause'])).toBe('BSD-3-Clause AND (MIT OR ISC)');
});
