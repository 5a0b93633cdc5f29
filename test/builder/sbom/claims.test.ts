// SPDX-License-Identifier: Apache-2.0
// Who claims which bytes, on a real link: two units for Cortex-M in `dwarf5.elf`, with the map, the depfile and the inputs that one build had.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseElf } from '../../../builder/elf.ts';
import type { EvidenceStep } from '../../../builder/input-files.ts';
import type { DeclaredComponent } from '../../../builder/parts.ts';
import { findShipped, type ImageEvidence } from '../../../builder/shipped.ts';
import { SourceRuns } from '../../../builder/source-runs.ts';
import { presentFiles } from '../../../builder/used-files.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-claims-'));
afterAll(() => rmSync(base, { recursive: true }));

const sources = join(base, 'sources');
const place = (path: string, content: string | Buffer) => {
  mkdirSync(dirname(join(base, path)), { recursive: true });
  writeFileSync(join(base, path), content);
};
const UNIT = '/* SPDX-License-Identifier: MIT */ unit';
const INLINE = '// SPDX-License-Identifier: ISC\ninline';
const BLOB = Buffer.from('a radio firmware, whole');
place('sources/lib/unit.c', UNIT);
place('sources/lib/inline.h', INLINE);
place('sources/lib/macros.h', 'macros');
place('sources/other.c', 'other');
place('sources/radio.bin', BLOB);
place('sources/pre.o', 'an object');
place('outside', 'a secret');
symlinkSync('../outside', join(base, 'sources/escape.c'));
mkdirSync(join(base, 'root'));

const bytes = readFileSync(new URL('fixtures/dwarf5.elf', import.meta.url));
const loaded = parseElf(bytes).sections.filter((section) => section.loaded);
const [text, rodata] = loaded as [(typeof loaded)[0], (typeof loaded)[0] | undefined];
const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');

/** The map of a link of one object. */
function mapOf(object: string, discarded = ''): string {
  const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`;
  const line = parseElf(bytes).sections.find(({ name }) => name === '.debug_line');
  const rows = [...loaded, ...(line === undefined ? [] : [line])].map(
    ({ name, address, bytes: { length } }) =>
      `${name} ${hex(address)} ${hex(length)}\n ${name} ${hex(address)} ${hex(length)} ${object}\n`,
  );
  return `Discarded input sections\n\n${discarded}\nMemory Configuration\n\nLinker script and memory map\n\n${rows.join('\n')}`;
}

const step = (name: string, more: Partial<EvidenceStep> = {}): EvidenceStep => ({
  name,
  root: { folder: join(base, 'root'), key: '', owners: new Map(), records: new Map() },
  workFiles: new Map(),
  outputs: new Map(),
  mounted: [{ name: 'firmware', folder: sources }],
  inputsOf: new Map(),
  sourcePackages: new Set(),
  ...more,
});
const COMPILE = step('compile', {
  workFiles: new Map([
    ['fx/unit.c', sha256(UNIT)],
    ['fx/inline.h', sha256(INLINE)],
    ['out/unit.o', 'd1'],
  ]),
  outputs: new Map([['unit.o', 'out/unit.o']]),
});
const LINK = step('link', { workFiles: new Map([['copy.o', 'd1']]) });
const LIB: DeclaredComponent = { name: 'lib', paths: ['firmware/lib'], embedded: [], licence: 'MIT' };

const image = Buffer.concat(loaded.map((section) => Buffer.from(section.bytes)));
const find = (more: Partial<ImageEvidence> = {}) =>
  findShipped({
    image,
    map: mapOf('/materials/compile/unit.o'),
    elf: bytes,
    linkStep: 'link',
    mapFile: 'unit.map',
    steps: [COMPILE, LINK],
    depfiles: [],
    components: [LIB],
    ...more,
  });
const placesOf = async (more: Partial<ImageEvidence> = {}) =>
  Object.fromEntries(
    [...(await find(more)).components].map(([{ name }, places]) => [
      name,
      places.map(({ path }) => path).sort(),
    ]),
  );

describe('declared components', () => {
  test('are found through copies, materials and objects copied on; each file says digest and licence', async () => {
    const whole = { lib: ['firmware/lib/inline.h', 'firmware/lib/unit.c'] };
    expect(await placesOf()).toEqual(whole);
    expect(await placesOf({ map: mapOf('copy.o') })).toEqual(whole);
    const shipped = await find();
    expect(shipped.gaps).toEqual([]);
    const places = [...shipped.components.values()].flat();
    expect(places.find(({ path }) => path.endsWith('unit.c'))).toMatchObject({
      sha256: sha256(UNIT),
      licence: 'MIT',
    });
    expect(places.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(shipped.linkedSizeBytes);
    expect(text.bytes.length + (rodata?.bytes.length ?? 0)).toBeLessThanOrEqual(shipped.linkedSizeBytes);
  });

  test('the longest path claims; a file that none claims is a gap', async () => {
    const header: DeclaredComponent = { name: 'header', paths: ['firmware/lib/inline.h'], embedded: [] };
    expect(await placesOf({ components: [LIB, header] })).toEqual({
      lib: ['firmware/lib/unit.c'],
      header: ['firmware/lib/inline.h'],
    });
    // A name that only starts alike is another folder.
    const alike: DeclaredComponent = { name: 'alike', paths: ['firmware/li'], embedded: [] };
    const shipped = await find({ components: [alike] });
    expect(shipped.components.size).toBe(0);
    expect(shipped.gaps.join()).toContain('from /build/fx/unit.c, of no component');
  });

  test('a copy that was changed is nobody’s', async () => {
    const changed = { ...COMPILE, workFiles: new Map([...COMPILE.workFiles, ['fx/unit.c', 'changed']]) };
    expect(await placesOf({ steps: [changed, LINK] })).toEqual({ lib: ['firmware/lib/inline.h'] });
  });

  test('lines that point to address 0 do not count for an object of which something was left out', () => {
    const line = parseElf(bytes).sections.find(({ name }) => name === '.debug_line');
    // DW_LNE_set_address, moved to where a linker moves what it leaves out.
    const program = Buffer.from(line?.bytes ?? []);
    program.writeUInt32LE(0, program.indexOf(Buffer.from([0, 5, 2])) + 3);
    const elf = parseElf(bytes);
    const sections = elf.sections.map((one) =>
      one.name === '.debug_line' ? { ...one, bytes: program } : one,
    );
    const of = { object: 'unit.o', inputSection: '.text', address: 0 };
    const other = { ...of, outputSection: '.text', sizeBytes: 16 };
    const lines = { ...of, outputSection: '.debug_line', sizeBytes: program.length };
    const runs = (discarded: string[]) =>
      new SourceRuns({ ...elf, sections }, [other, lines], new Set(discarded)).within(other);
    expect([...runs([]).keys()]).toContain('/build/fx/unit.c');
    expect([...runs(['unit.o'])]).toEqual([]);
    expect([...runs(['else.o']).keys()]).toContain('/build/fx/unit.c');
  });
});

describe('a tool that ran below /build', () => {
  // Two programs whose files have the same names; what was linked is in `sub`, by a linker that ran there.
  const twice = {
    ...COMPILE,
    workFiles: new Map([
      ['sub/fx/unit.c', sha256(UNIT)],
      ['sub/unit.o', 'd1'],
      ['unit.o', 'd2'],
    ]),
    outputs: new Map([
      ['unit.map', 'sub/unit.map'],
      ['unit.d', 'sub/unit.d'],
      ['other.d', 'other.d'],
    ]),
  };
  const given = {
    ...{ steps: [twice], linkStep: 'compile', map: mapOf('unit.o'), elf: parseBlind() },
    depfiles: [
      { step: 'compile', file: 'unit.d', text: 'unit.o: fx/unit.c /inputs/firmware/lib/macros.h\n' },
      { step: 'compile', file: 'other.d', text: 'unit.o: /inputs/firmware/other.c\n' },
    ],
  };
  const other: DeclaredComponent = { name: 'other', paths: ['firmware/other.c'], embedded: [] };

  test('named files from there, in map and depfile', async () => {
    const { components, used } = await find({ ...given, components: [LIB, other] });
    expect([...components.keys()]).toEqual([LIB]);
    expect(used.map(({ path }) => path)).toEqual(['lib/macros.h', 'lib/unit.c']);
  });

  test('or from /build, if that is where the files are', async () => {
    const map = { ...given, map: mapOf('sub/unit.o') };
    expect(await placesOf({ ...map, components: [LIB, other] })).toEqual({ lib: ['firmware/lib/unit.c'] });
    const above = { ...twice, workFiles: new Map([['unit.o', 'd2']]) };
    expect(await placesOf({ ...given, steps: [above], components: [LIB, other] })).toEqual({
      other: ['firmware/other.c'],
    });
  });
});

test('a source or an object out of an archive is told by archive and member, and opaque by its own digest', async () => {
  mkdirSync(join(base, 'packed'), { recursive: true });
  execFileSync('tar', ['-czf', join(base, 'packed/all.tar.gz'), 'lib', 'pre.o'], { cwd: sources });
  const mounted = [{ name: 'packed', folder: join(base, 'packed') }];
  const workFiles = new Map([...COMPILE.workFiles, ['pre.o', sha256('an object')]]);
  const steps = [{ ...COMPILE, workFiles, mounted }];
  const lib: DeclaredComponent = { name: 'lib', paths: ['packed/all.tar.gz/lib'], embedded: [] };
  const given = { steps, linkStep: 'compile', components: [lib] };
  const shipped = await find({ ...given, map: mapOf('out/unit.o') });
  expect(shipped.gaps).toEqual([]);
  expect(shipped.components.get(lib)).toMatchObject([
    { path: 'packed/all.tar.gz', member: 'lib/unit.c', sha256: sha256(UNIT), licence: 'MIT' },
    { path: 'packed/all.tar.gz', member: 'lib/inline.h', sha256: sha256(INLINE), licence: 'ISC' },
  ]);
  // The archive is what was used, once.
  expect(shipped.used.map(({ path }) => path)).toEqual(['all.tar.gz']);
  const whole = { path: 'packed/all.tar.gz/pre.o', sha256: sha256('an object') };
  expect((await find({ ...given, map: mapOf('pre.o') })).opaqueFiles).toMatchObject([
    { ...whole, occurrences: [{ path: 'packed/all.tar.gz', member: 'pre.o' }] },
  ]);
  const member = await find({ ...given, map: mapOf('pre.o(inner.o)') });
  expect(member.opaqueFiles).toMatchObject([{ ...whole, occurrences: [{ member: 'pre.o(inner.o)' }] }]);
});

test('bytes of one object that lack the same are one gap, with their sum', async () => {
  // Its code in two sections, of the same size: one for each function.
  const hex = (value: number) => `0x${value.toString(16).padStart(8, '0')}`;
  const half = text.bytes.length / 2;
  const [at, size] = [text.address, text.bytes.length];
  const parts = [at, at + half].map((start) => ` .text ${hex(start)} ${hex(half)} /build/none.o\n`);
  const map = mapOf('none.o').replace(/(\n \.text) .*\n/, `\n${parts.join('')}`);
  const { gaps } = await find({ map, steps: [step('link')], elf: parseBlind() });
  expect(gaps).toContain(`${size} bytes of /build/none.o(.text) without a source line`);
});

describe('depfiles', () => {
  const text = 'out/unit.o: fx/unit.c fx/inline.h \\\n /inputs/firmware/lib/macros.h\n';

  test('say what was read for an object in the image, and which source it was', async () => {
    const { used } = await find({ depfiles: [{ step: 'compile', file: 'unit.d', text }] });
    expect(used).toContainEqual({ of: 'firmware', path: 'lib/macros.h', proofs: ['depfile'] });
    expect(used.find(({ path }) => path === 'lib/unit.c')?.proofs).toEqual([
      'compilation unit',
      'depfile',
      'line table',
    ]);
    const blind = parseBlind();
    expect((await find({ elf: blind })).gaps.join()).toContain('without a source line');
    expect(await placesOf({ elf: blind, depfiles: [{ step: 'compile', file: 'unit.d', text }] })).toEqual({
      lib: ['firmware/lib/unit.c'],
    });
  });

  test('of other objects say nothing', async () => {
    const { used } = await find({
      depfiles: [{ step: 'compile', file: 'unit.d', text: text.replace('unit.o', 'else.o') }],
    });
    expect(used.map(({ path }) => path)).not.toContain('lib/macros.h');
  });
});

describe('embedded files', () => {
  const radio: DeclaredComponent = { name: 'radio', paths: [], embedded: ['firmware/radio.bin'] };

  test('ship if the image holds them whole', async () => {
    const merged = Buffer.concat([image, BLOB]);
    const shipped = await find({ image: merged, components: [LIB, radio] });
    expect([...(shipped.components.get(radio) ?? [])]).toMatchObject([
      { path: 'firmware/radio.bin', sizeBytes: BLOB.length, sha256: sha256(BLOB) },
    ]);
    expect(shipped.gaps).toEqual([]);
  });

  test('do not if one byte differs or nobody has them, and that is a gap', async () => {
    const merged = Buffer.concat([image, BLOB.subarray(1)]);
    const gone: DeclaredComponent = { name: 'gone', paths: [], embedded: ['firmware/escape.c'] };
    const shipped = await find({ image: merged, components: [LIB, radio, gone] });
    expect([...shipped.components.keys()]).toEqual([LIB]);
    expect(shipped.gaps).toEqual([
      expect.stringMatching(/^\d+ bytes of the image come from no linked section/),
      'firmware/escape.c is declared as embedded and is no file of an input',
      'firmware/radio.bin is declared as embedded and its bytes are not in the image',
    ]);
  });
});

describe('files that nobody declared to be embedded', () => {
  const RADIO = { path: 'firmware/radio.bin', sha256: sha256(BLOB) };

  test('are opaque components where they explain bytes that were merged in or have no lines', async () => {
    const merged = await find({ image: Buffer.concat([BLOB, image]) });
    expect(merged.opaqueFiles).toMatchObject([RADIO]);
    expect(merged.gaps).toEqual([]);
    expect(merged.used).toContainEqual({ of: 'firmware', path: 'radio.bin', proofs: ['embedded'] });
  });

  test('are nothing where the link explains the bytes: an image, or a part of it, that an input brings along', async () => {
    place('sources/prebuilt.bin', image);
    place('sources/prebuilt.text', Buffer.from(text.bytes));
    place('sources/prebuilt.part', Buffer.from(text.bytes.subarray(0, 16)));
    try {
      const shipped = await find();
      expect(shipped.opaqueFiles).toEqual([]);
      expect([...shipped.components.keys()]).toEqual([LIB]);
    } finally {
      for (const name of ['bin', 'text', 'part']) rmSync(join(sources, `prebuilt.${name}`));
    }
  });

  test('count once, however many hold the same bytes, and in their component if they are of one', async () => {
    place('sources/twin.bin', BLOB);
    const radio: DeclaredComponent = { name: 'radio', paths: ['firmware/radio.bin'], embedded: [] };
    const shipped = await find({ image: Buffer.concat([image, BLOB]), components: [LIB, radio] });
    rmSync(join(sources, 'twin.bin'));
    expect([...shipped.components.keys()].sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([LIB, radio]);
    expect(shipped.opaqueFiles).toEqual([]);
  });
});

describe('precompiled objects', () => {
  const map = mapOf('/inputs/firmware/pre.o');

  test('are opaque components of their own, with their digest', async () => {
    const shipped = await find({ map, components: [] });
    expect(shipped.opaqueFiles).toMatchObject([
      { path: 'firmware/pre.o', sha256: sha256('an object'), occurrences: [{ path: 'firmware/pre.o' }] },
    ]);
  });

  test('or make the component that claims them opaque', async () => {
    const pre: DeclaredComponent = { name: 'pre', paths: ['firmware/pre.o'], embedded: [] };
    const shipped = await find({ map, components: [pre] });
    expect(shipped.opaqueFiles).toEqual([]);
    expect([...shipped.opaqueComponents]).toEqual([pre]);
  });
});

describe('an image that is the root', () => {
  const root: EvidenceStep['root'] = {
    folder: sources,
    key: '',
    owners: new Map(),
    records: new Map(),
    image: 'base',
  };
  const steps = [
    { ...COMPILE, root, mounted: [] },
    { ...LINK, root, mounted: [] },
  ];

  test('has opaque archives of its own, and components claim its files by its name', async () => {
    const map = mapOf('/pre.o');
    const shipped = await find({ map, components: [], steps });
    expect(shipped.opaqueFiles).toMatchObject([{ path: 'base/pre.o', sha256: sha256('an object') }]);
    const pre: DeclaredComponent = { name: 'pre', paths: ['base/pre.o'], embedded: [] };
    expect([...(await find({ map, components: [pre], steps })).components.keys()]).toEqual([pre]);
    const radio: DeclaredComponent = { name: 'radio', paths: [], embedded: ['base/radio.bin'] };
    const merged = await find({ map, image: Buffer.concat([image, BLOB]), components: [radio], steps });
    expect([...merged.components.keys()]).toEqual([radio]);
  });

  test('is part of the UPPER bound, but for what Waybill writes into it', () => {
    place('sources/etc/passwd', 'build');
    const present = [...presentFiles(steps)].map(({ of, path }) => `${of}/${path}`);
    rmSync(join(sources, 'etc'), { recursive: true });
    expect(present).toContain('base/lib/unit.c');
    expect(present.join()).not.toContain('passwd');
  });
});

test('the UPPER bound is every file that a step could see, once', () => {
  expect([...presentFiles([COMPILE, LINK])].map(({ path }) => path)).toEqual([
    'lib/inline.h',
    'lib/macros.h',
    'lib/unit.c',
    'other.c',
    'pre.o',
    'radio.bin',
  ]);
});

/** The fixture without line information. */
function parseBlind(): Buffer {
  const blind = Buffer.from(bytes);
  for (let at = blind.indexOf('.debug_line'); at >= 0; at = blind.indexOf('.debug_line', at + 1)) {
    blind.write('.other_', at);
  }
  return blind;
}
