// SPDX-License-Identifier: Apache-2.0
// The SBOM as a document: valid CycloneDX 1.6, the same for the same content, refused where it is not.

import { describe, expect, test } from 'vitest';
import type { LockedPackage } from '../../builder/lock-file.ts';
import { packageUrl } from '../../builder/package-url.ts';
import { buildSbom, type SbomContent } from '../../builder/sbom.ts';

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

function content(more: Partial<SbomContent> = {}): SbomContent {
  return {
    product: 'thing',
    version: '1.2.3',
    image: { file: 'image.bin', sha256: 'a'.repeat(64), sha512: 'a'.repeat(128) },
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
    steps: [{ name: 'link', packageUrls: [LIBRARY, COMPILER].map((locked) => packageUrl('debian', locked)) }],
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
    expect(formula.components.map(({ name }: { name: string }) => name)).toEqual(['library', 'compiler']);
    expect(formula.workflows[0].tasks[0].resourceReferences).toHaveLength(2);
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
      await parse({ image: { file: 'image.bin', sha256: 'b'.repeat(64), sha512: 'b'.repeat(128) } }),
    ];
    expect(first.metadata.timestamp).toBe('2023-11-14T22:13:20.000Z');
    expect(first.serialNumber).toMatch(
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(first.serialNumber).not.toBe(other.serialNumber);
  });

  test('that breaks the schema is not written', async () => {
    const broken = entry('broken', { sha256: 'no digest' });
    const packages = new Map([['pkg:deb/debian/broken@1', { entry: broken, distribution: 'debian' }]]);
    await expect(buildSbom(content({ packages }))).rejects.toMatchObject({ code: 'SBOM_INVALID' });
  });
});
