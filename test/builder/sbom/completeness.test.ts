// SPDX-License-Identifier: Apache-2.0
// The score of an SBOM: what is there counts, what is missing is named, arbitrary documents do not break it.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ScoredItem, scoreSbom } from '../../../builder/completeness.ts';
import { main } from '../../../cli/main.ts';
import { Rejection } from '../../../core/faults.ts';

const CONTACT = { name: 'Somebody', contact: [{ email: 'somebody@example.org' }] };
const PROPERTIES = ['filename', 'executable', 'archive', 'structured'].map((name) => ({
  name: `bsi:component:${name}`,
  value: 'x',
}));
const whole = (name: string) => ({
  type: 'library',
  'bom-ref': name,
  name,
  version: '1',
  purl: `pkg:generic/${name}@1`,
  supplier: CONTACT,
  licenses: [{ license: { id: 'MIT' } }],
  hashes: [
    { alg: 'SHA-256', content: 'a'.repeat(64) },
    { alg: 'SHA-512', content: 'a'.repeat(128) },
  ],
  properties: PROPERTIES,
});
const COMPLETE = {
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  serialNumber: 'urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79',
  metadata: { timestamp: '2026-01-01T00:00:00Z', supplier: CONTACT, component: whole('firmware') },
  components: [whole('a'), whole('b'), { type: 'device', name: 'board' }],
  dependencies: [{ ref: 'firmware', dependsOn: ['a', 'b'] }],
  compositions: [{ aggregate: 'incomplete' }],
};
const score = (document: object) => scoreSbom(Buffer.from(JSON.stringify(document)));
const items = (document: object) =>
  new Map(score(document).flatMap(({ items: all }) => all.map((item) => [item.item, item] as const)));

describe('a score', () => {
  test('of a document that has everything is full', () => {
    expect(score(COMPLETE).map(({ met, of }) => [met, of])).toEqual([
      [9, 9],
      [15, 15],
      [4, 4],
    ]);
  });

  const { supplier: _, ...noSupplier } = whole('b');
  const { purl: _purl, ...anonymous } = whole('b');
  test.each<[string, object, string, Partial<ScoredItem>]>([
    [
      'a supplier',
      { components: [whole('a'), noSupplier] },
      'supplier name',
      { status: 'partly', lacking: ['b'] },
    ],
    [
      'an address',
      { components: [{ ...whole('b'), supplier: { name: 'x' } }] },
      'component creator, by e-mail or URL',
      { lacking: ['b'] },
    ],
    [
      'an identifier',
      { components: [anonymous] },
      'other unique identifiers (purl, CPE)',
      { have: 1, of: 2 },
    ],
    ['a relation', { components: [whole('c')] }, 'dependency relationship', { lacking: ['c'] }],
    [
      'all relations',
      { dependencies: [] },
      'covers at the very least the top-level dependencies',
      { status: 'missing' },
    ],
    [
      'a licence',
      { components: [{ ...whole('b'), licenses: [] }] },
      'distribution licences',
      { lacking: ['b'] },
    ],
    [
      'SHA-512',
      { components: [{ ...whole('b'), hashes: [] }] },
      'hash value of the deployable component (SHA-512)',
      { lacking: ['b'] },
    ],
    [
      'an author',
      { metadata: { component: whole('firmware') } },
      'author of the SBOM data',
      { status: 'missing' },
    ],
    ['a time', { metadata: { component: whole('firmware') } }, 'timestamp', { status: 'missing' }],
    ['compositions', { compositions: [] }, 'completeness of the dependencies', { status: 'missing' }],
    [
      'a property',
      { components: [{ ...whole('b'), properties: [] }] },
      'archive property',
      { lacking: ['b'] },
    ],
    [
      'nested ones',
      { components: [{ ...whole('a'), components: [anonymous] }] },
      'other unique identifiers (purl, CPE)',
      { of: 3 },
    ],
  ])('misses %s where it is missing', (_name, change, item, expected) => {
    expect(items({ ...COMPLETE, ...change }).get(item)).toMatchObject(expected);
  });

  test('of something else is refused', () => {
    for (const text of ['', '{}', '{"bomFormat":"CycloneDX","specVersion":"1.5"}']) {
      expect(() => scoreSbom(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'SBOM_MALFORMED' }));
    }
  });

  test('of documents with members of any kind throws nothing but refusals', () => {
    const member = fc.constantFrom(...Object.keys(COMPLETE), 'metadata.component', 'metadata.supplier');
    fc.assert(
      fc.property(member, fc.jsonValue({ maxDepth: 3 }), (path, value) => {
        const copy = structuredClone(COMPLETE) as unknown as Record<string, Record<string, unknown>>;
        const [first = '', second] = path.split('.');
        if (second === undefined) (copy as Record<string, unknown>)[first] = value;
        else (copy[first] as Record<string, unknown>)[second] = value;
        try {
          score(copy);
        } catch (failure) {
          expect(failure).toBeInstanceOf(Rejection);
        }
      }),
    );
  });
});

test('waybill sbom score refuses what it cannot read, with its exit code', async () => {
  expect(await main(['node', 'waybill', 'sbom', 'score', '/nonexistent.json', '--json'], '0')).toBe(2);
});
