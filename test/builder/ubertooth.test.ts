// SPDX-License-Identifier: Apache-2.0
// Firmware that nobody here wrote, with user, host and date baked in: built from Debian's sources through the command line, its bytes and
// its SBOM held against what is known of it.

import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build } from '../../builder/build.ts';
import { findDifferences } from '../../builder/difference.ts';
import { parseLinkerMap } from '../../builder/linker-map.ts';
import { parseLock } from '../../builder/lock-file.ts';
import { cacheFolder } from '../../builder/store.ts';
import { readYaml } from './definitions.ts';

const repository = new URL('../../', import.meta.url).pathname;
const base = mkdtempSync(join(tmpdir(), 'waybill-ubertooth-'));
const out = join(base, 'out');
afterAll(() => rmSync(base, { recursive: true, force: true }));

function waybill(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      [join(repository, 'cli/waybill.js'), ...args],
      { cwd: base, maxBuffer: 1 << 26, env: { ...process.env, TZ: 'Asia/Tokyo', USER: 'somebody' } },
      (failure, stdout, stderr) =>
        resolve({ code: failure === null ? 0 : Number(failure.code), stdout, stderr }),
    ),
  );
}

interface Occurrence {
  readonly location: string;
  readonly additionalContext: string;
}
let sbom: {
  metadata: { component: { properties: { name: string; value: string }[] } };
  components: {
    name: string;
    type: string;
    licenses?: object[];
    evidence?: { occurrences: Occurrence[] };
  }[];
  formulation: { components: { name: string }[] }[];
};
/** Of the one image. */
const SBOM = 'sboms/bluetooth_rxtx.bin.cdx.json';
const read = (path: string) => readFileSync(join(out, path));
beforeAll(async () => {
  cpSync(join(repository, 'examples/ubertooth'), base, { recursive: true });
  // The committed lock may name packages that mirrors have dropped since.
  const locked = await waybill('lock');
  expect(locked).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
  const built = await waybill('build', '--out', out);
  expect(built).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
  sbom = JSON.parse(read(SBOM).toString());
}, 400_000);

const BAKED = 'ubertooth 2018-12-R1 (build@waybill) Fri Jan 30 00:00:00 UTC 2026';
const IMAGE = 'outputs/image/bluetooth_rxtx.bin';

describe('the image', () => {
  test('holds who, where and when, as the sandbox answers', () => {
    expect(read(IMAGE).includes(`${BAKED}\0`)).toBe(true);
    // The makefile was warned of nothing.
    expect(read('logs/compile.log').toString()).not.toMatch(/skew|in the future/);
  });

  test('is what is flashed, but for the suffix that tells a tool the device', () => {
    const [bin, dfu] = [read(IMAGE), read('outputs/image/bluetooth_rxtx.dfu')];
    expect(dfu.subarray(0, bin.length).equals(bin)).toBe(true);
    const suffix = dfu.subarray(bin.length);
    // Product, vendor, version of the format, and its mark, from the end of the file.
    expect([suffix.readUInt16LE(2), suffix.readUInt16LE(4), suffix.toString('latin1', 8, 11)]).toEqual([
      ...[0x6003, 0x1d50],
      'UFD',
    ]);
  });

  test('built again, is the same, and so is its SBOM', async () => {
    const again = await waybill('build', '--out', 'again');
    expect(again).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
    for (const file of [IMAGE, 'outputs/compile/bluetooth_rxtx.elf', SBOM]) {
      expect(readFileSync(join(base, 'again', file)).equals(read(file))).toBe(true);
    }
  }, 200_000);

  test('depends on user and host all the same, which a comparison names by symbol and text', async () => {
    const text = readFileSync(join(base, 'waybill.yaml'));
    const lockBytes = readFileSync(join(base, 'waybill.lock'));
    const user = { name: 'checker', id: 1001, hostName: 'elsewhere' };
    await build({
      ...{ definition: readYaml(text.toString()), lock: parseLock(lockBytes, 'waybill.lock') },
      ...{ definitionBytes: text, lockBytes, replace: false, toolVersion: '0.0.0' },
      out: join(base, 'elsewhere'),
      cache: cacheFolder(process.env, homedir()),
      builderId: 'https://waybill.example/builders/test',
      conditions: { user },
    });
    const other = (path: string) => readFileSync(join(base, 'elsewhere', path));
    const [found, ...more] = findDifferences({
      ...{ output: 'image/bluetooth_rxtx.bin', first: read(IMAGE), second: other(IMAGE) },
      ...{ elf: other('outputs/compile/bluetooth_rxtx.elf'), nowMs: Date.now() },
      told: [user.name, user.hostName],
    });
    expect(found).toMatchObject({ cause: 'host', section: '.text', symbol: 'compile_info' });
    expect(found?.detail).toContain(
      `"${BAKED}" and "${BAKED.replace('build@waybill', 'checker@elsewhere')}"`,
    );
    // The time is the same, and what differs besides follows from the length of that text.
    expect(more.filter(({ cause }) => cause !== 'size')).toEqual([]);
  }, 200_000);
});

describe('its SBOM', () => {
  const named = (name: string) => sbom.components.find((component) => component.name === name);
  const membersOf = (name: string) =>
    named(name)
      ?.evidence?.occurrences.map(({ additionalContext }) => /^member (\S+),/.exec(additionalContext)?.[1])
      .sort();
  const top = 'ubertooth-firmware-source';

  test('names each source by its name in the archive that the package brings', () => {
    const files = [
      'bluetooth',
      'bluetooth_le',
      'bluetooth_rxtx',
      'cc2400_rangetest',
      'debug_uart',
      'ego',
    ].concat([
      'le_phy',
      'queue',
      'ubertooth_clock',
      'ubertooth_cs',
      'ubertooth_dma',
      'ubertooth_rssi',
      'ubertooth_usb',
    ]);
    expect(membersOf('ubertooth-firmware-source')).toEqual([
      ...files.map((name) => `${top}/bluetooth_rxtx/${name}.c`),
      ...['ubertooth', 'usb_serial'].map((name) => `${top}/common/${name}.c`),
    ]);
    const locations = named('ubertooth-firmware-source')?.evidence?.occurrences.map(
      ({ location }) => location,
    );
    expect(new Set(locations)).toEqual(new Set(['usr/src/ubertooth-firmware-source.tar.gz']));
  });

  test('names what was taken from others, by licence, without what the linker dropped', () => {
    expect(membersOf('LPCUSB')).toEqual(
      ['usbcontrol', 'usbhw_lpc', 'usbinit', 'usbstdreq'].map(
        (name) => `${top}/common/lpcusb/target/${name}.c`,
      ),
    );
    expect(named('LPCUSB')?.licenses).toMatchObject([{ license: { id: 'BSD-3-Clause' } }]);
    expect(named('tinyprintf')?.licenses).toMatchObject([{ license: { id: 'LGPL-2.1-or-later' } }]);
    expect(named('LPC17xx start-up code')?.licenses).toMatchObject([
      { expression: 'GPL-2.0-or-later AND LicenseRef-Opendous' },
    ]);
    expect(read('outputs/compile/bluetooth_rxtx.map').toString()).toContain('serial_fifo.o');
    expect(JSON.stringify(sbom.components)).not.toContain('serial_fifo');
  });

  test('names the libraries by archive member, and what only built it as that', () => {
    expect(membersOf('libnewlib-arm-none-eabi')).toEqual(
      expect.arrayContaining(['lib_a-memcpy.o', 'lib_a-memset.o', 'lib_a-strlen-stub.o']),
    );
    expect(membersOf('gcc-arm-none-eabi')).toContain('_udivmoddi4.o');
    const built = sbom.formulation[0]?.components.map(({ name }) => name);
    const tools = ['ubertooth', 'libubertooth-dev', 'libbtbb1', 'libfaketime', 'hostname', 'make'];
    expect(built).toEqual(expect.arrayContaining(tools));
    for (const tool of tools) expect(named(tool)).toBeUndefined();
  });

  test('accounts for every byte, as the linker placed them', () => {
    const properties = sbom.metadata.component.properties;
    const property = (name: string) => properties.find((one) => one.name === name)?.value;
    expect(property('waybill:gap')).toBeUndefined();
    const counted = sbom.components.flatMap(({ evidence }) =>
      (evidence?.occurrences ?? []).map(
        ({ additionalContext }) => /(\d+) bytes/.exec(additionalContext)?.[1],
      ),
    );
    const sum = counted.reduce((total, size) => total + Number(size), 0);
    const placed = parseLinkerMap(read('outputs/compile/bluetooth_rxtx.map').toString('latin1'))
      .filter(({ outputSection }) => ['.text', '.ARM.exidx', '.data'].includes(outputSection))
      .reduce((total, { sizeBytes }) => total + sizeBytes, 0);
    expect([sum, Number(property('waybill:linkedSizeBytes'))]).toEqual([placed, placed]);
    // What is left of the image is fill between them.
    const fill = read(IMAGE).length - placed;
    expect(fill).toBeGreaterThanOrEqual(0);
    expect(fill).toBeLessThan(64);
  });

  test('ties board, microcontroller and radio to the firmware', () => {
    expect(sbom.components.filter(({ type }) => type === 'device').map(({ name }) => name)).toEqual([
      ...['CC2400', 'LPC1756', 'Ubertooth One'],
    ]);
  });
});

test('provenance names the clock among what each step was given', () => {
  const names = readdirSync(join(out, 'statements')).filter((name) => name.includes('provenance'));
  expect(names).toHaveLength(2);
  for (const name of names) {
    const { predicate } = JSON.parse(read(join('statements', name)).toString());
    expect(predicate.buildDefinition.internalParameters.sandbox.clock).toBe('libfaketime');
    const uris = predicate.buildDefinition.resolvedDependencies.map(({ uri }: { uri?: string }) => uri);
    expect(uris.filter((uri?: string) => uri?.startsWith('pkg:deb/debian/libfaketime@'))).toHaveLength(1);
  }
});

test('its lock fits its definition', async () => {
  expect(await waybill('lock', join(repository, 'examples/ubertooth/waybill.yaml'), '--check')).toMatchObject(
    {
      code: 0,
    },
  );
});
