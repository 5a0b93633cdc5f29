// SPDX-License-Identifier: Apache-2.0
// The schema is compiled in part: held against the library's validator, which compiles it whole, over documents made wrong in turn.

import { Version } from '@cyclonedx/cyclonedx-library/Spec';
import { JsonStrictValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { expect, test } from 'vitest';
import { schemaProblems } from '../../../builder/sbom-schema.ts';
import type { Json } from '../../../core/encoding/strict-json.ts';

const contact = { name: 'Example', contact: [{ email: 'who@example.org' }], url: ['https://example.org'] };
const reference = (ref: string) => ({ ref });
const DOCUMENT: Json = {
  $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  version: 1,
  serialNumber: 'urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79',
  metadata: {
    timestamp: '2023-11-14T22:13:20.000Z',
    lifecycles: [{ phase: 'build' }],
    tools: { components: [{ type: 'application', name: 'tool', version: '1' }] },
    supplier: contact,
    component: {
      type: 'firmware',
      'bom-ref': 'thing',
      name: 'thing',
      cpe: 'cpe:2.3:a:example:thing:1:*:*:*:*:*:*:*',
      properties: [
        { name: 'a', value: 'b' },
        { name: 'a', value: 'c' },
      ],
      evidence: { occurrences: [{ location: 'a.c', additionalContext: '1 byte' }, { location: 'b.c' }] },
    },
  },
  components: [
    {
      type: 'library',
      'bom-ref': 'library',
      supplier: contact,
      name: 'library',
      version: '2',
      purl: 'pkg:deb/debian/library@2',
      hashes: [{ alg: 'SHA-256', content: 'a'.repeat(64) }],
      licenses: [{ license: { id: 'MIT', acknowledgement: 'declared' } }],
      externalReferences: [{ type: 'website', url: 'https://example.org' }],
    },
    {
      type: 'library',
      name: 'other',
      licenses: [{ expression: 'MIT OR ISC', acknowledgement: 'declared' }],
      components: [{ type: 'file', name: 'part' }],
    },
  ],
  dependencies: [{ ref: 'thing', dependsOn: ['library'] }, { ref: 'library' }],
  compositions: [{ aggregate: 'incomplete', assemblies: ['thing'] }],
  formulation: [
    {
      'bom-ref': 'build',
      components: [{ type: 'application', 'bom-ref': 'compiler', name: 'compiler' }],
      workflows: [
        {
          'bom-ref': 'workflow',
          uid: 'thing',
          taskTypes: ['build'],
          tasks: [
            {
              'bom-ref': 'task',
              uid: 'task',
              taskTypes: ['build'],
              resourceReferences: [reference('compiler')],
            },
          ],
        },
      ],
    },
  ],
};

/** Each member and element, in every way that a document can be wrong there. */
function* wrongOnes(value: Json, whole: (part: Json | undefined) => Json): Generator<Json> {
  if (typeof value === 'string') yield* ['', `${value} `, `${value}\u0000`, 'MIT', 'null@'].map(whole);
  yield* [null, 1, [], {}, [value], { value }].map(whole);
  if (Array.isArray(value)) {
    yield whole([...value, ...value]);
    yield whole([...value, null]);
    for (const [i, element] of value.entries())
      yield* wrongOnes(element, (part) =>
        whole(value.toSpliced(i, 1, ...(part === undefined ? [] : [part]))),
      );
  } else if (typeof value === 'object' && value !== null) {
    const object = value as { readonly [name: string]: Json };
    // Members of other places: of vulnerabilities, of the document, of nowhere.
    for (const name of ['ratings', 'components', 'properties', 'unknown'])
      yield whole({ ...object, [name]: [] });
    for (const [name, member] of Object.entries(object)) {
      const { [name]: _, ...others } = object;
      yield whole(others);
      yield* wrongOnes(member, (part) => whole(part === undefined ? others : { ...others, [name]: part }));
    }
  }
}

test('a document is judged as by the whole schema', async () => {
  const library = new JsonStrictValidator(Version.v1dot6);
  const all = [...wrongOnes(DOCUMENT, (part) => part ?? null)];
  // Each takes a while: some here, others in the next place.
  const some = [DOCUMENT, ...all.filter((_, i) => i % 7 === 0)];
  let invalid = 0;
  for (const document of some) {
    const theirs = await library.validate(JSON.stringify(document));
    const ours = schemaProblems(document);
    expect({ document, valid: ours.length === 0 }).toEqual({ document, valid: theirs === null });
    if (theirs !== null) invalid++;
  }
  expect(await library.validate(JSON.stringify(DOCUMENT))).toBeNull();
  expect(some.length).toBeGreaterThan(150);
  expect(invalid).toBeGreaterThan(100);
  expect(invalid).toBeLessThan(some.length);
}, 120_000);

test('what no SBOM of ours says is judged all the same', () => {
  const vulnerabilities = (severity: string) => [{ id: 'CVE-2026-0001', ratings: [{ severity }] }];
  const document = (severity: string): Json => ({
    ...(DOCUMENT as object),
    vulnerabilities: vulnerabilities(severity),
  });
  expect(schemaProblems(document('high'))).toEqual([]);
  expect(schemaProblems(document('dire'))).toMatchObject([
    { instancePath: '/vulnerabilities/0/ratings/0/severity' },
  ]);
});

test('items are unique as JSON is, whatever the order of their members', () => {
  const bill = (components: Json): Json => ({ bomFormat: 'CycloneDX', specVersion: '1.6', components });
  const [one, same] = [
    { type: 'library', name: 'a' },
    { name: 'a', type: 'library' },
  ];
  expect(schemaProblems(bill([one, { type: 'library', name: 'b' }]))).toEqual([]);
  expect(schemaProblems(bill([one, same]))).toMatchObject([{ keyword: 'uniqueItems' }]);
  // Compared each with each, these would take minutes.
  const many = Array.from({ length: 20_000 }, (_, i) => ({ type: 'library', name: `${i}` }));
  const startedMs = performance.now();
  expect(schemaProblems(bill(many))).toEqual([]);
  expect(performance.now() - startedMs).toBeLessThan(15_000);
});
