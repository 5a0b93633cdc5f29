// SPDX-License-Identifier: Apache-2.0
// The SBOM as a document: valid CycloneDX 1.6, the same for the same content, refused where it is not.

import { describe, expect, test } from 'vitest';
import { formOf } from '../../builder/file-form.ts';
import type { LockedPackage } from '../../builder/lock-file.ts';
import { packageUrl } from '../../builder/package-url.ts';
import type { DeclaredComponent } from '../../builder/parts.ts';
import { buildSbom, type SbomContent } from '../../builder/sbom.ts';
import type { Occurrence } from '../../builder/shipped.ts';
import { utf8 } from '../../core/encoding/utf8.ts';

const entry = (name: string, more: Partial<LockedPackage> = {}): LockedPackage => ({
  name,
  version: '1:2.0+b~1-1',
  architecture: 'amd64',
  sha256: Buffer.from(name).toString('hex').padEnd(64, '0'),
  sizeBytes: 1,
  path: 'pool/x.deb',
  ...more,
});
const [LIBRARY, COMPILER] = [entry('library'), entry('compiler')];
const SDK = {
  uri: `pkg:generic/sdk-1.2.tar.xz?checksum=sha256:${'5'.repeat(64)}`,
  sha256: '5'.repeat(64),
  annotations: { role: 'toolchain', input: 'sdk' },
};

function content(more: Partial<SbomContent> = {}): SbomContent {
  return {
    product: 'thing',
    version: '1.2.3',
    image: { file: 'image.bin', sha256: 'a'.repeat(64), sha512: 'a'.repeat(128), form: {} },
    sourceDateEpoch: 1_700_000_000,
    toolVersion: '0.1.0',
    shipped: {
      packages: new Map([
        [
          LIBRARY,
          [
            { path: 'usr/lib/libz.a', member: 'z.o', sizeBytes: 20 },
            { path: 'usr/lib/liba.a', member: 'a.o', sizeBytes: 10 },
          ],
        ],
      ]),
      components: new Map(),
      opaqueComponents: new Set(),
      opaqueFiles: [],
      used: [],
      gaps: ['4 bytes of main.o'],
      linkedSizeBytes: 34,
      verbatimSizeBytes: 30,
    },
    facts: new Map([[LIBRARY, { control: {}, licence: 'MIT' }]]),
    components: [],
    hardware: [],
    packages: new Map(
      [LIBRARY, COMPILER].map((locked) => [
        packageUrl('debian', locked),
        { entry: locked, distribution: 'debian' },
      ]),
    ),
    inputs: new Map([['sdk', [SDK]]]),
    steps: [
      {
        name: 'link',
        packageUrls: [LIBRARY, COMPILER].map((locked) => packageUrl('debian', locked)),
        inputs: ['sdk'],
      },
    ],
    comparisons: [],
    ...more,
  };
}
const parse = async (more: Partial<SbomContent> = {}) =>
  JSON.parse(Buffer.from(await buildSbom(content(more))).toString());

describe('an SBOM', () => {
  test('keeps what ships apart from what only built', async () => {
    const sbom = await parse();
    expect(sbom.specVersion).toBe('1.6');
    expect(sbom.components).toHaveLength(1);
    expect(sbom.components[0]).toMatchObject({
      name: 'library',
      purl: 'pkg:deb/debian/library@1:2.0+b~1-1?arch=amd64',
      licenses: [{ license: { id: 'MIT' } }],
      hashes: [{ alg: 'SHA-256', content: LIBRARY.sha256 }],
      evidence: {
        occurrences: [
          { location: 'usr/lib/liba.a', additionalContext: 'member a.o, 10 bytes in the image' },
          { location: 'usr/lib/libz.a', additionalContext: 'member z.o, 20 bytes in the image' },
        ],
      },
    });
    expect(sbom.dependencies).toContainEqual({
      ref: 'pkg:generic/thing@1.2.3',
      dependsOn: ['pkg:deb/debian/library@1:2.0+b~1-1?arch=amd64'],
    });
    const formula = sbom.formulation[0];
    expect(formula.components.map(({ name }: { name: string }) => name)).toEqual([
      'library',
      'compiler',
      'sdk',
    ]);
    // A toolchain that is no package built it all the same.
    expect(formula.components[2]).toEqual({
      'bom-ref': 'build:input/sdk',
      type: 'data',
      name: 'sdk',
      components: [
        {
          'bom-ref': `build:input/sdk/${SDK.uri}`,
          type: 'file',
          name: 'sdk-1.2.tar.xz',
          hashes: [{ alg: 'SHA-256', content: SDK.sha256 }],
          purl: SDK.uri,
          properties: [{ name: 'waybill:role', value: 'toolchain' }],
        },
      ],
    });
    expect(formula.workflows[0].tasks[0].resourceReferences).toEqual(
      formula.components.map((component: { 'bom-ref': string }) => ({ ref: component['bom-ref'] })),
    );
  });

  test('names declared components, precompiled files and hardware, and the product itself by its own entry', async () => {
    const { shipped } = content();
    if (shipped === undefined) throw new Error('no content');
    const declared = {
      name: 'crc',
      version: '2',
      paths: ['firmware/crc'],
      embedded: [],
      supplier: 'Sums <https://sums.example/x>',
    };
    const own = {
      name: 'thing',
      paths: ['firmware/src'],
      embedded: [],
      supplier: 'Us <us@thing.example>',
      licence: 'ISC',
    };
    const place = { path: 'firmware/crc/crc.c', sizeBytes: 9, sha256: 'c'.repeat(64), licence: 'MIT' };
    const sbom = await parse({
      shipped: {
        ...shipped,
        components: new Map<DeclaredComponent, Occurrence[]>([
          [declared, [place, { ...place, path: 'firmware/crc/table.c', licence: 'Apache-2.0' }]],
          [own, [{ ...place, path: 'firmware/src/main.c' }]],
        ]),
        opaqueComponents: new Set([declared]),
        opaqueFiles: [
          {
            path: 'firmware/pre.a',
            sha256: 'd'.repeat(64),
            form: formOf(utf8('!<arch>\n')),
            occurrences: [{ path: 'firmware/pre.a', member: 'x.o', sizeBytes: 12 }],
          },
        ],
      },
      facts: new Map([
        [
          LIBRARY,
          {
            control: {
              maintainer: 'A Team',
              email: 'team@example.org',
              source: 'lib 1',
              homepage: 'https://lib.example/',
            },
            sha512: 'e'.repeat(128),
            licence: 'MIT OR ISC',
          },
        ],
      ]),
      components: [declared, own],
      hardware: [{ name: 'Board', kind: 'board', supplier: 'Boards', revision: 'B', partNumber: 'B-1' }],
    });
    const named = (name: string) =>
      sbom.components.find((component: { name: string }) => component.name === name);
    expect(named('crc')).toMatchObject({
      version: '2',
      supplier: { name: 'Sums', url: ['https://sums.example/x'] },
      licenses: [{ expression: 'Apache-2.0 AND MIT' }],
      properties: [{ name: 'waybill:opaque' }],
      evidence: {
        occurrences: [
          {
            location: 'firmware/crc/crc.c',
            additionalContext: `9 bytes in the image, sha256:${'c'.repeat(64)}`,
          },
          {},
        ],
      },
    });
    expect(named('pre.a')).toMatchObject({
      hashes: [{ content: 'd'.repeat(64) }],
      properties: [
        { name: 'bsi:component:archive', value: 'archive' },
        { name: 'bsi:component:filename', value: 'pre.a' },
        { name: 'bsi:component:structured', value: 'structured' },
        { name: 'waybill:opaque' },
      ],
      evidence: { occurrences: [{ additionalContext: 'member x.o, 12 bytes in the image' }] },
    });
    expect(named('Board')).toMatchObject({ type: 'device', version: 'B', supplier: { name: 'Boards' } });
    expect(sbom.dependencies).toContainEqual({
      ref: 'hardware:Board@B',
      dependsOn: ['pkg:generic/thing@1.2.3'],
    });
    expect(named('library')).toMatchObject({
      supplier: { name: 'A Team', contact: [{ email: 'team@example.org' }] },
      publisher: 'debian',
      licenses: [{ expression: 'MIT OR ISC' }],
      hashes: [{ alg: 'SHA-256' }, { alg: 'SHA-512' }],
      properties: [
        { name: 'bsi:component:archive', value: 'archive' },
        { name: 'bsi:component:filename', value: 'x.deb' },
        { name: 'bsi:component:structured', value: 'structured' },
        { name: 'waybill:sourcePackage', value: 'lib 1' },
      ],
      externalReferences: [{ url: 'https://lib.example/' }],
    });
    expect(named('thing')).toBeUndefined();
    expect(sbom.metadata).toMatchObject({
      supplier: { name: 'Us', contact: [{ email: 'us@thing.example' }] },
      component: {
        supplier: { name: 'Us', contact: [{ email: 'us@thing.example' }] },
        licenses: [{ license: { id: 'ISC' } }],
        evidence: { occurrences: [{ location: 'firmware/src/main.c' }] },
      },
    });
    const file = sbom.metadata.component.properties.filter(({ name }: { name: string }) =>
      name.startsWith('bsi:'),
    );
    expect(file).toEqual([
      { name: 'bsi:component:archive', value: 'archive' },
      { name: 'bsi:component:executable', value: 'executable' },
      { name: 'bsi:component:filename', value: 'image.bin' },
      { name: 'bsi:component:structured', value: 'unstructured' },
    ]);
    // main.c says MIT, the product is declared as ISC.
    expect(sbom.metadata.component.properties).toContainEqual({
      name: 'waybill:gap',
      value: 'firmware/src/main.c says MIT, its component thing is declared as ISC',
    });
    expect(sbom.compositions[1]).toMatchObject({ aggregate: 'unknown' });
    expect(sbom.compositions[1].assemblies).toHaveLength(3);
  });

  test('admits what is not proved', async () => {
    const gaps = async (more: Partial<SbomContent>) => {
      const sbom = await parse(more);
      const properties: { name: string; value: string }[] = sbom.metadata.component.properties;
      return [
        sbom.compositions[0].aggregate,
        ...properties.filter(({ name }) => name === 'waybill:gap').map(({ value }) => value),
      ];
    };
    expect(await gaps({})).toEqual(['incomplete', '4 bytes of main.o']);
    const { shipped: _, ...without } = content();
    const sbom = JSON.parse(Buffer.from(await buildSbom(without)).toString());
    expect(sbom.compositions[0].aggregate).toBe('unknown');
    expect(sbom.components).toEqual([]);
  });

  test('is the same for the same content, and names no time but the given one', async () => {
    expect(Buffer.from(await buildSbom(content())).equals(await buildSbom(content()))).toBe(true);
    const [first, other] = [
      await parse(),
      await parse({
        image: { file: 'image.bin', sha256: 'b'.repeat(64), sha512: 'b'.repeat(128), form: {} },
      }),
    ];
    expect(first.metadata.timestamp).toBe('2023-11-14T22:13:20.000Z');
    expect(first.serialNumber).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(first.serialNumber).not.toBe(other.serialNumber);
    const elsewhere = await parse({ inputs: new Map([['sdk', [{ ...SDK, uri: 'pkg:generic/other' }]]]) });
    expect(first.serialNumber).not.toBe(elsewhere.serialNumber);
  });

  test('that breaks the schema is not written', async () => {
    const broken = entry('broken', { sha256: 'no digest' });
    const packages = new Map([['pkg:deb/debian/broken@1', { entry: broken, distribution: 'debian' }]]);
    await expect(buildSbom(content({ packages }))).rejects.toMatchObject({ code: 'SBOM_INVALID' });
  });
});

test.each([
  ['!<arch>\n', { archive: true, structured: true }],
  ['PK\x03\x04', { archive: true, structured: true }],
  [`${'x'.repeat(257)}ustar`, { archive: true, structured: true }],
  ['070701', { archive: true, structured: true }],
  ['\xd0\x0d\xfe\xed', { archive: true, structured: true }],
  ['hsqs', { archive: true, structured: true }],
  ['\x7fELF', { executable: true }],
  ['\x00\x20\x00\x20', {}],
  ['', {}],
])('a file that begins with %j is what it is', (head, form) => {
  expect(formOf(Buffer.from(head, 'latin1'))).toEqual(form);
});
