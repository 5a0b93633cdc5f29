// SPDX-License-Identifier: Apache-2.0
// Bytes that reach an image by other ways than compiling, with Debian's own tools for ARM: .incbin, objcopy, a merging step, an
// archive that a step makes; and what --gc-sections dropped. Declared or not, each is found where it is. Packages come from the
// host's mirror once and stay in the user's cache.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import { ContentStore, cacheFolder } from '../../builder/store.ts';
import { readYaml } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-embedding-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** Bytes without a pattern, another for each seed. */
const noise = (sizeBytes: number, seed: number) =>
  Buffer.from(Array.from({ length: sizeBytes }, (_, i) => (Math.imul(i + seed, 0x9e3779b1) >>> 21) & 0xff));

const FILES: Readonly<Record<string, string | Buffer>> = {
  'src/main.c': `extern const char radio[], _binary_font_bin_start[];
int used(int); int unused(int);
int main(void) { return used(radio[3] + _binary_font_bin_start[2]); }
`,
  'src/table.S':
    '.section .rodata.radio,"a"\n.global radio\nradio: .incbin "/inputs/firmware/blobs/radio.bin"\n.word 0x12345678\n',
  'lib/used.c': 'int used(int x) { return x * 3 + 1; }\n',
  'lib/unused.c': 'int unused(int x) { return x * 7 + 5; }\n',
  'src/link.ld': `ENTRY(main)
SECTIONS {
  .text 0x0 : { KEEP(*(.text.main)) *(.text*) *(.rodata*) *(.data*) }
  /DISCARD/ : { *(.ARM.exidx*) *(.comment) *(.ARM.attributes) }
}
`,
  'blobs/radio.bin': noise(200, 1),
  'blobs/font.bin': noise(300, 1000),
  'blobs/boot.bin': noise(400, 5000),
  'blobs/never.bin': noise(100, 9000),
};

const DEFINITION = `waybill: 1
product: merged
version: 1.0.0
sourceDateEpoch: 1700000000
inputs:
  firmware: { kind: folder, role: source, path: firmware }
  toolchain:
    kind: debian
    role: toolchain
    distribution: debian
    suite: bookworm
    components: [main]
    architecture: amd64
    keyring: /usr/share/keyrings/debian-archive-keyring.gpg
    packages: [gcc-arm-none-eabi, binutils-arm-none-eabi, libnewlib-arm-none-eabi, make, dash, coreutils]
steps:
  - name: link
    inputs: [firmware, toolchain]
    command: |
      cc="arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb -Os -g -ffunction-sections -ffreestanding"
      cp /inputs/firmware/blobs/font.bin .
      arm-none-eabi-objcopy -I binary -O elf32-littlearm -B arm --rename-section .data=.rodata.font,alloc,load,readonly,data,contents font.bin font.o
      for file in src/main.c src/table.S lib/used.c lib/unused.c; do
        $cc -c /inputs/firmware/$file -MD -MF $(basename $file).d -o $(basename $file).o
      done
      cat *.d >main.d
      arm-none-eabi-ar rcD libown.a used.c.o unused.c.o
      $cc -nostdlib -T /inputs/firmware/src/link.ld -Wl,--gc-sections -Wl,-Map=main.map -Wl,--build-id=none -o main.elf main.c.o table.S.o font.o libown.a
    outputs: [{ path: main.elf }, { path: main.map }, { path: main.d }]
  - name: merge
    inputs: [firmware, toolchain]
    materials: [link/main.elf]
    command: |
      arm-none-eabi-objcopy -O binary /materials/link/main.elf main.bin
      cat /inputs/firmware/blobs/boot.bin main.bin >merged.bin
    outputs: [{ path: merged.bin }]
products:
  - image: merge/merged.bin
    evidence: { map: link/main.map, elf: link/main.elf, depfiles: [link/main.d] }
components:
  - name: merged
    paths: [firmware/src]
  - name: library
    paths: [firmware/lib]
`;
const DECLARED = `  - name: blobs
    supplier: Example Radios
    embedded: [firmware/blobs/radio.bin, firmware/blobs/font.bin, firmware/blobs/boot.bin]
`;

interface Place {
  readonly location: string;
  readonly additionalContext: string;
}
interface Component {
  readonly name: string;
  readonly evidence: { readonly occurrences: readonly Place[] };
  readonly properties?: readonly { readonly name: string; readonly value: string }[];
}

async function sbomOf(text: string): Promise<{ own: Component; components: Component[]; gaps: string[] }> {
  const definition = readYaml(text);
  const out = mkdtempSync(join(base, 'out-'));
  const summary = await build({
    ...{ definition, lock, out, cache, folder: base, replace: false, toolVersion: '0.0.0' },
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    builderId: 'https://waybill.example/builders/test',
  });
  expect(summary.outputs).toHaveLength(4);
  const sbom = JSON.parse(readFileSync(join(out, summary.images[0]?.sbom.file ?? ''), 'utf8'));
  const own: Component = sbom.metadata.component;
  const gaps = own.properties?.filter(({ name }) => name === 'waybill:gap').map(({ value }) => value) ?? [];
  return { own, components: sbom.components ?? [], gaps };
}

let lock: Lock;
const cache = cacheFolder(process.env, homedir());

const placesOf = (component: Component | undefined) =>
  component?.evidence.occurrences.map(({ location, additionalContext }) => [
    location,
    Number.parseInt(additionalContext, 10),
  ]);

beforeAll(async () => {
  for (const [path, content] of Object.entries(FILES)) {
    mkdirSync(join(base, 'firmware', path, '..'), { recursive: true });
    writeFileSync(join(base, 'firmware', path), content);
  }
  lock = await lockInputs(readYaml(DEFINITION), { folder: base, store: new ContentStore(cache) });
}, 240_000);

describe('bytes that no compiler made', () => {
  const BLOBS = [
    ['firmware/blobs/boot.bin', 400],
    ['firmware/blobs/font.bin', 300],
    ['firmware/blobs/radio.bin', 200],
  ];

  test('are those of the component that is declared to be embedded, and of nobody else', async () => {
    const { own, components, gaps } = await sbomOf(DEFINITION + DECLARED);
    const named = (name: string) => components.find((one) => one.name === name);
    expect(gaps).toEqual([]);
    expect(placesOf(named('blobs'))).toEqual(BLOBS);
    // The assembler's source has no lines, but a depfile, and put more in than the blob: its own word.
    expect(placesOf(own)).toEqual([
      ['firmware/src/main.c', expect.any(Number)],
      ['firmware/src/table.S', 4],
    ]);
    expect(placesOf(named('library'))).toEqual([['firmware/lib/used.c', expect.any(Number)]]);
    expect(components.map(({ name }) => name).sort()).toEqual(['blobs', 'library']);
  }, 240_000);

  test('are found although nobody declared them, as opaque components', async () => {
    const { own, components, gaps } = await sbomOf(DEFINITION);
    expect(gaps).toEqual([]);
    const blobs = components.filter(({ name }) => name.endsWith('.bin'));
    expect(blobs.flatMap((one) => placesOf(one) ?? []).sort()).toEqual(BLOBS);
    const isOpaque = ({ properties = [] }: Component) =>
      properties.some(({ name }) => name === 'waybill:opaque');
    expect(blobs.every(isOpaque)).toBe(true);
    expect(placesOf(own)).toContainEqual(['firmware/src/table.S', 4]);
  }, 240_000);
});
