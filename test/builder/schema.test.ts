// SPDX-License-Identifier: Apache-2.0
// The published schema of waybill.yaml and the reader know the same members and agree on what is good.

import { globSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readYaml } from './definitions.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCHEMA = resolve(ROOT, 'docs/schema/waybill.schema.json');
const schema = JSON.parse(readFileSync(SCHEMA, 'utf8'));
const validate = new Ajv({ strict: true, allErrors: false, strictRequired: false }).compile(schema);

type Document = Record<string, unknown>;

/** A definition with every member that there is. */
const FULL: Document = {
  waybill: 1,
  product: 'thing',
  version: '1.2.3',
  sourceDateEpoch: 1700000000,
  inputs: {
    debian: {
      ...{ kind: 'debian', role: 'source', distribution: 'debian', suite: 'bookworm', components: ['main'] },
      ...{ architecture: 'amd64', keyring: 'keys.gpg', packages: ['make'] },
    },
    file: {
      ...{ kind: 'file', role: 'blob', url: 'https://files.example/a.tar.gz', sha256: 'ab'.repeat(32) },
      ...{ unpack: 'tar', strip: 1 },
    },
    folder: { kind: 'folder', role: 'source', path: 'src/a b' },
    git: {
      ...{ kind: 'git', role: 'source', url: 'ssh://git@git.example/r.git' },
      ...{ commit: 'ab'.repeat(20), submodules: false },
    },
    oci: {
      ...{ kind: 'oci', role: 'rootfs', image: 'registry.example:5000/a/b_c' },
      ...{ digest: `sha256:${'ab'.repeat(32)}`, platform: 'linux/arm64' },
    },
    west: {
      ...{ kind: 'west', role: 'toolchain', manifest: 'west.yml', url: 'file:///r' },
      ...{ commit: 'cd'.repeat(32), blobs: ['hal'] },
    },
  },
  steps: [
    {
      ...{ name: 'compile', inputs: ['debian', 'file', 'folder', 'git', 'west'], command: 'make' },
      ...{ environment: { V: '1', EMPTY: '' }, timeoutSeconds: 5, outputMebibytes: 1 },
      outputs: [{ path: 'a.elf' }, { path: 'a.map' }, { path: 'a.d' }],
    },
    {
      ...{ name: 'image', inputs: ['oci'], materials: ['compile/a.elf'], command: ['/usr/bin/cp', 'a', 'b'] },
      outputs: [{ path: 'out/a.bin', published: { package: 'make', path: 'usr/a.bin' } }],
    },
  ],
  products: [
    {
      image: 'image/a.bin',
      evidence: { map: 'compile/a.map', elf: 'compile/a.elf', depfiles: ['compile/a.d'] },
    },
  ],
  components: [
    {
      ...{ name: 'crc', version: '1', paths: ['folder/crc'], embedded: ['folder/blob'], supplier: 'Example' },
      ...{ licence: 'MIT', purl: 'pkg:generic/crc@1', cpe: 'cpe:2.3:a:example:crc:1:*:*:*:*:*:*:*' },
    },
  ],
  hardware: [{ name: 'Board', kind: 'board', supplier: 'Example', revision: 'A', partNumber: 'B-1' }],
};

/** Each object of FULL by its place, with the schema that describes it. */
const PLACES: readonly (readonly [path: string, definition: string | undefined])[] = [
  ['', undefined],
  ...['debian', 'file', 'folder', 'git', 'oci', 'west'].map((kind) => [`inputs.${kind}`, kind] as const),
  ['steps.1', 'step'],
  ['steps.1.outputs.0', 'output'],
  ['steps.1.outputs.0.published', 'published'],
  ['products.0', 'product'],
  ['products.0.evidence', 'evidence'],
  ['components.0', 'component'],
  ['hardware.0', 'hardware'],
];

function changed(path: string, change: (object: Document) => void): Document {
  const copy = structuredClone(FULL);
  let at: unknown = copy;
  for (const name of path.split('.').filter((part) => part !== '')) at = (at as Document)[name];
  change(at as Document);
  return copy;
}

const refusal = (document: unknown): string => {
  try {
    readYaml(JSON.stringify(document));
    return '';
  } catch (failure) {
    return (failure as Error).message;
  }
};

test('a definition with every member is good to both', () => {
  expect(refusal(FULL)).toBe('');
  expect([validate(FULL), validate.errors]).toEqual([true, null]);
});

describe.each(PLACES)('at %j', (path, definition) => {
  const known: Document = (definition === undefined ? schema : schema.definitions[definition]).properties;

  test('both know the same members', () => {
    const document = changed(path, (object) => {
      object.zzz = 1;
    });
    const said = /known here: (.*)$/.exec(refusal(document))?.[1] ?? '';
    expect(said.split(', ').sort()).toEqual(Object.keys(known).sort());
    expect(validate(document)).toBe(false);
  });

  test('both miss the same members', () => {
    for (const member of Object.keys(known)) {
      const document = changed(path, (object) => {
        delete object[member];
      });
      // Names of other places, and pairs, are what only the reader knows.
      const alone = /unknown|that is defined|both, or neither|only beside/.test(refusal(document));
      if (!alone) expect([member, validate(document)]).toEqual([member, refusal(document) === '']);
    }
  });
});

test.each([
  ['inputs.debian', 'packages', ['-o']],
  ['inputs.debian', 'role', 'rootfs'],
  ['inputs.file', 'url', 'ftp://x/y'],
  ['inputs.file', 'sha256', 'AB'.repeat(32)],
  ['inputs.file', 'strip', 0],
  ['inputs.file', 'unpack', 'rar'],
  ['inputs.folder', 'path', '../up'],
  ['inputs.folder', 'path', 'a/../../up'],
  ['inputs.folder', 'path', '/absolute'],
  ['inputs.git', 'commit', 'main'],
  ['inputs.git', 'url', 'ext::sh'],
  ['inputs.git', 'submodules', 'no'],
  ['inputs.oci', 'image', 'registry.example/a:tag'],
  ['inputs.oci', 'digest', 'latest'],
  ['inputs.oci', 'role', 'source'],
  ['inputs.west', 'manifest', '../west.yml'],
  ['inputs.west', 'blobs', []],
  ['steps.1', 'environment', { PATH: '/x' }],
  ['steps.1', 'command', ''],
  ['steps.1', 'materials', ['a.o']],
  ['products.0', 'image', 'a.bin'],
  ['hardware.0', 'kind', 'cpu'],
  ['', 'waybill', 2],
  ['', 'version', 'v1'],
  ['', 'product', 'Thing'],
])('both refuse %s.%s = %j', (path, member, value) => {
  const document = changed(path, (object) => {
    object[member] = value;
  });
  expect(refusal(document)).not.toBe('');
  expect(validate(document)).toBe(false);
});

describe('every example', () => {
  const examples = globSync('examples/*/waybill.yaml', { cwd: ROOT });
  test('there are some', () => expect(examples.length).toBeGreaterThan(0));

  test.each(examples)('%s is good to both and points its editor at the schema', (path) => {
    const text = readFileSync(resolve(ROOT, path), 'utf8');
    expect(readYaml(text).steps.length).toBeGreaterThan(0);
    expect([validate(parse(text)), validate.errors]).toEqual([true, null]);
    const named = /^# yaml-language-server: \$schema=(\S+)$/m.exec(text)?.[1] ?? '';
    expect(resolve(ROOT, dirname(path), named)).toBe(SCHEMA);
  });
});
