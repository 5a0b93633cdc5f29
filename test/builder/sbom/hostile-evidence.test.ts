// SPDX-License-Identifier: Apache-2.0
// Evidence as a step would write it that wants to hold the builder: what it names is in many places, or many times.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type Elf, parseElf } from '../../../builder/elf.ts';
import type { Contribution } from '../../../builder/linker-map.ts';
import { placeContributions } from '../../../builder/placement.ts';
import { findShipped } from '../../../builder/shipped.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-hostile-'));
afterAll(() => rmSync(base, { recursive: true }));

test('a depfile of as many targets as prerequisites, all on one line, is read in proportion', async () => {
  const elf = readFileSync(new URL('fixtures/dwarf5.elf', import.meta.url));
  const [text] = parseElf(elf).sections.filter((section) => section.loaded);
  if (text === undefined) throw new Error('a fixture with a loaded section');
  mkdirSync(join(base, 'root'));
  const count = 6000;
  const targets = Array.from({ length: count }, (_, i) => `t${i}.o`);
  const part = Math.floor(text.bytes.length / 2);
  const rows = targets.map((object, i) => {
    const address = (text.address + (i % 2) * part).toString(16);
    return ` ${text.name} 0x${address} 0x${part.toString(16)} ${object}\n`;
  });
  const { user } = process.cpuUsage();
  const shipped = await findShipped({
    image: text.bytes,
    map: `Linker script and memory map\n\n${text.name} 0x0 0x0\n${rows.join('')}`,
    elf,
    linkStep: 'make',
    mapFile: 'map',
    steps: [
      {
        name: 'make',
        root: { folder: join(base, 'root'), key: '', owners: new Map(), records: new Map() },
        workFiles: new Map(targets.map((target) => [target, target])),
        outputs: new Map(),
        mounted: [],
        inputsOf: new Map(),
        sourcePackages: new Set(),
      },
    ],
    depfiles: [
      {
        step: 'make',
        file: 'd',
        text: `${targets.join(' ')}: ${targets.map((of) => `${of}.c`).join(' ')}\n`,
      },
    ],
    components: [],
  });
  expect(shipped.used).toEqual([]);
  expect(shipped.verbatimSizeBytes).toBe(count * part);
  // All pairs of them take a minute, and gigabytes.
  expect(process.cpuUsage().user - user).toBeLessThan(10e6);
}, 120_000);

test('parts that are nowhere near each other are looked for within bounds, and what is not is not found', () => {
  const size = 64;
  const parts = Array.from({ length: 100 }, () => randomBytes(size));
  const section = { name: '.text', loaded: true, address: 0, bytes: Buffer.concat(parts) };
  const elf = { sections: [section] } as unknown as Elf;
  const contributions = parts.map(
    (_, i): Contribution => ({
      outputSection: '.text',
      inputSection: '.text',
      address: i * size,
      sizeBytes: size,
      object: `${i}.o`,
    }),
  );
  const image = Buffer.concat([...parts].reverse());
  const found = (max?: number) =>
    placeContributions(contributions, elf, image, max).placed.filter(
      ({ imageOffset }) => imageOffset !== undefined,
    ).length;
  expect(found()).toBe(100);
  // The section as a whole is looked for first; then each part is further to the front.
  expect(found(image.length)).toBe(0);
  expect(found(2 * image.length)).toBe(2);
  expect(found(20 * image.length)).toBe(22);
});
