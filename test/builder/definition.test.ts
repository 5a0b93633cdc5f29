// SPDX-License-Identifier: Apache-2.0
// What waybill.yaml may say, and where the reader is pointed when it says something else.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { inputsSha256 } from '../../builder/definition.ts';
import { readYaml } from './definitions.ts';

const TEXT = `waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: 1700000000
inputs:
  tools:
    kind: debian
    role: toolchain
    distribution: debian
    suite: bookworm
    components: [main]
    architecture: amd64
    keyring: keys.gpg
    packages: [make, dash]
steps:
  - name: link
    inputs: [tools]
    materials: [compile/a.o]
    command: [/usr/bin/ld, a.o]
    environment: { V: '1', EMPTY: '' }
    outputs:
      - path: out/a.elf
      - path: a.map
  - name: compile
    inputs: [tools]
    command: cc a.c
    timeoutSeconds: 5
    outputMebibytes: 1
    outputs:
      - path: a.o
        published: { package: make, path: usr/share/a.o }
products:
  - image: link/a.elf
    evidence: { map: link/a.map, elf: link/a.elf }
`;

/** Reads TEXT with one replacement and returns the fault. */
function fault(from: string, to: string): { code?: string; at?: string; message?: string } {
  expect(TEXT).toContain(from);
  try {
    readYaml(TEXT.replace(from, to));
  } catch (failure) {
    return failure as Error;
  }
  return {};
}

describe('a good definition', () => {
  const definition = readYaml(TEXT);

  test('has its steps in an order in which they can run', () => {
    expect(definition.steps.map(({ name }) => name)).toEqual(['compile', 'link']);
  });

  test('has defaults, units and arguments', () => {
    const [compile, link] = definition.steps;
    expect(compile?.command).toEqual(['/bin/sh', '-e', '-c', 'cc a.c']);
    expect([compile?.timeoutMs, compile?.outputSizeBytesMax]).toEqual([5000, 1024 * 1024]);
    expect([link?.timeoutMs, link?.outputSizeBytesMax]).toEqual([600_000, 256 * 1024 * 1024]);
    expect(link?.command).toEqual(['/usr/bin/ld', 'a.o']);
    expect(link?.environment).toEqual([
      ['V', '1'],
      ['EMPTY', ''],
    ]);
    expect(link?.outputs[0]).toEqual({ file: 'a.elf', path: 'out/a.elf' });
    expect(definition.products).toHaveLength(1);
    expect(definition.products[0]?.image).toEqual({ step: 'link', file: 'a.elf' });
    expect(definition.products[0]?.evidence?.map).toEqual({ step: 'link', file: 'a.map' });
  });

  test('has a digest of its inputs that follows them and nothing else', () => {
    const digest = inputsSha256(definition);
    expect(inputsSha256(readYaml(TEXT.replace('[make, dash]', '[dash, make]')))).toBe(digest);
    expect(inputsSha256(readYaml(TEXT.replace('version: 1.2.3', 'version: 1.2.4')))).toBe(digest);
    for (const [from, to] of [
      ['[make, dash]', '[make]'],
      ['role: toolchain', 'role: source'],
      ['suite: bookworm', 'suite: trixie'],
      ['keyring: keys.gpg', 'keyring: other.gpg'],
    ] as const) {
      expect(inputsSha256(readYaml(TEXT.replace(from, to)))).not.toBe(digest);
    }
  });

  test('is what the example in the specification is', () => {
    const page = readFileSync(new URL('../../docs/spec/build-definition.md', import.meta.url), 'utf8');
    const example = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    expect(readYaml(example).steps.map(({ name }) => name)).toEqual(['compile', 'image']);
  });
});

describe('a bad definition is refused where it is bad', () => {
  test.each([
    ['waybill: 1', 'waybill: 2', 'DEFINITION_MALFORMED', '1:10'],
    ['product: thing', 'product: Thing!', 'DEFINITION_MALFORMED', '2:10'],
    ['version: 1.2.3', 'version: v1', 'DEFINITION_MALFORMED', '3:10'],
    ['version: 1.2.3', 'version: 1.2', 'DEFINITION_MALFORMED', '3:10'],
    ['sourceDateEpoch: 1700000000', 'sourceDateEpoch: soon', 'DEFINITION_MALFORMED', '4:18'],
    ['  tools:', '  Tools!:', 'DEFINITION_MALFORMED', '6:3'],
    ['    kind: debian', '    kind: rpm', 'DEFINITION_MALFORMED', '7:11'],
    ['role: toolchain', 'role: tool', 'DEFINITION_MALFORMED', '8:11'],
    ['suite: bookworm', 'suite: bookworm [trusted=yes]', 'DEFINITION_MALFORMED', '10:12'],
    ['components: [main]', 'components: []', 'DEFINITION_MALFORMED', '11:17'],
    ['keyring: keys.gpg', 'mirror: http://example', 'DEFINITION_MALFORMED', '13:5'],
    ['suite: bookworm', 'sweet:\n      a: 1', 'DEFINITION_MALFORMED', '10:5'],
    ['packages: [make, dash]', 'packages: [make, -o]', 'DEFINITION_MALFORMED', '14:22'],
    ['packages: [make, dash]', 'packages: [make, make]', 'DEFINITION_NAME_DUPLICATE', '14:22'],
    ['  - name: link', '  - name: Link', 'DEFINITION_MALFORMED', '16:11'],
    ['- name: compile', '- name: link', 'DEFINITION_NAME_DUPLICATE', '24:11'],
    ['inputs: [tools]', 'inputs: [tool]', 'DEFINITION_NAME_UNKNOWN', '17:14'],
    ['inputs: [tools]', 'inputs: []', 'DEFINITION_MALFORMED', '17:13'],
    ['materials: [compile/a.o]', 'materials: [compile/b.o]', 'DEFINITION_NAME_UNKNOWN', '18:17'],
    ['materials: [compile/a.o]', 'materials: [assemble/a.o]', 'DEFINITION_NAME_UNKNOWN', '18:17'],
    ['materials: [compile/a.o]', 'materials: [a.o]', 'DEFINITION_MALFORMED', '18:17'],
    [
      'materials: [compile/a.o]',
      'materials: [compile/a.o, compile/a.o]',
      'DEFINITION_NAME_DUPLICATE',
      '18:30',
    ],
    ['materials: [compile/a.o]', 'materials: [link/a.map]', 'DEFINITION_STEPS_CYCLIC', '18:16'],
    ["V: '1'", "PATH: '/x'", 'DEFINITION_MALFORMED', '20:20'],
    ["V: '1'", "'V=1;': '1'", 'DEFINITION_MALFORMED', '20:20'],
    ['path: out/a.elf', 'path: /etc/passwd', 'DEFINITION_MALFORMED', '22:15'],
    ['path: out/a.elf', 'path: ../a.elf', 'DEFINITION_MALFORMED', '22:15'],
    ['path: out/a.elf', 'path: out/a.map', 'DEFINITION_NAME_DUPLICATE', '23:15'],
    ['timeoutSeconds: 5', 'timeoutSeconds: 0', 'DEFINITION_MALFORMED', '27:21'],
    ['timeoutSeconds: 5', 'memoryMebibytes: 0', 'DEFINITION_MALFORMED', '27:22'],
    ['timeoutSeconds: 5', 'workMebibytes: 0', 'DEFINITION_MALFORMED', '27:20'],
    ['timeoutSeconds: 5', 'processes: 0', 'DEFINITION_MALFORMED', '27:16'],
    ['timeoutSeconds: 5', 'cpus: many', 'DEFINITION_MALFORMED', '27:11'],
    ['    command: cc a.c\n', '', 'DEFINITION_MALFORMED', '24:5'],
    ['command: cc a.c', 'command: ""', 'DEFINITION_MALFORMED', '26:14'],
    ['image: link/a.elf', 'image: link/b.elf', 'DEFINITION_NAME_UNKNOWN', '33:12'],
    ['map: link/a.map', 'map: compile/a.o', 'DEFINITION_MALFORMED', '34:15'],
    ['    evidence:', '  - image: link/a.elf\n    evidence:', 'DEFINITION_NAME_DUPLICATE', '34:12'],
    ['products:', 'product:', 'DEFINITION_MALFORMED', '32:1'],
    ['sourceDateEpoch', 'colour: red\nsourceDateEpoch', 'DEFINITION_MALFORMED', '4:1'],
    ['sourceDateEpoch', 'sourceDateEpoch: [\nx', 'DEFINITION_MALFORMED', ''],
  ])('%s → %s', (from, to, code, at) => {
    const got = fault(from, to);
    expect(got.code).toBe(code);
    expect(got.at).toContain(`waybill.yaml:${at}`);
  });

  test('a step without a root file system, or with two kinds of it', () => {
    const folder = '  src: { kind: folder, role: source, path: src }\n';
    const image = `  img: { kind: oci, role: rootfs, image: registry.example/t, digest: 'sha256:${'ab'.repeat(32)}' }\n`;
    const text = TEXT.replace('steps:\n', `${folder}${image}steps:\n`);
    const faultOf = (inputs: string) => {
      try {
        readYaml(text.replace('inputs: [tools]', `inputs: [${inputs}]`));
      } catch (failure) {
        return (failure as { code: string }).code;
      }
      return 'none';
    };
    expect(faultOf('tools, src')).toBe('none');
    expect(faultOf('src')).toBe('DEFINITION_MALFORMED');
    expect(faultOf('tools, img')).toBe('DEFINITION_MALFORMED');
  });

  test('no inputs, no steps, no products', () => {
    const cut = (from: string, to: string) =>
      TEXT.slice(0, TEXT.indexOf(from)) + TEXT.slice(TEXT.indexOf(to));
    const code = (text: string) => {
      try {
        readYaml(text);
      } catch (failure) {
        return (failure as { code: string }).code;
      }
      return 'none';
    };
    expect(code(cut('inputs:', 'steps:').replace('steps:', 'inputs: {}\nsteps:'))).toBe(
      'DEFINITION_MALFORMED',
    );
    expect(code(cut('steps:', 'products:').replace('products:', 'steps: []\nproducts:'))).toBe(
      'DEFINITION_MALFORMED',
    );
    expect(code(`${TEXT.slice(0, TEXT.indexOf('products:'))}products: []\n`)).toBe('DEFINITION_MALFORMED');
  });
});
