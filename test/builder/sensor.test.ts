// SPDX-License-Identifier: Apache-2.0
// The example with firmware of our own: built through the command line, booted in QEMU, and its SBOM held against what we know of it.

import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const repository = new URL('../../', import.meta.url).pathname;
const base = mkdtempSync(join(tmpdir(), 'waybill-sensor-'));
const out = join(base, 'out');
afterAll(() => rmSync(base, { recursive: true, force: true }));

function waybill(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      [join(repository, 'cli/waybill.js'), ...args],
      { cwd: base, maxBuffer: 1 << 26 },
      (failure, stdout, stderr) =>
        resolve({ code: failure === null ? 0 : Number(failure.code), stdout, stderr }),
    ),
  );
}

let sbom: {
  metadata: { component: { version: string; properties: { name: string; value: string }[] } };
  components: { name: string; type: string }[];
  dependencies: object[];
  formulation: { components: { name: string }[] }[];
};
beforeAll(async () => {
  cpSync(join(repository, 'examples/sensor'), base, { recursive: true });
  // The committed lock may name packages that mirrors have dropped since.
  const locked = await waybill('lock');
  expect(locked).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
  const built = await waybill('build', '--out', out, '--audit');
  expect(built).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
  sbom = JSON.parse(readFileSync(join(out, 'sboms/sensor.bin.cdx.json'), 'utf8'));
}, 400_000);

/** CRC-16/CCITT-FALSE, written apart from the example's. */
function crc16(text: string): string {
  let crc = 0xffff;
  for (const byte of Buffer.from(text, 'latin1')) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : ((crc << 1) ^ 0x1021) & 0xffff;
  }
  return (crc & 0xffff).toString(16).padStart(4, '0');
}

test('boots in QEMU and says its version', async () => {
  const args = ['-M', 'lm3s6965evb', '-nographic', '-monitor', 'none', '-serial', 'stdio', '-kernel'];
  const machine = spawn('qemu-system-arm', [...args, join(out, 'products/sensor.bin')], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  try {
    await new Promise<void>((resolve, reject) => {
      machine.once('error', reject);
      machine.once('close', () => reject(new Error(`QEMU ended after ${JSON.stringify(said)}`)));
      machine.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString('latin1');
        if (said.split('\r\n').length > 2) resolve();
      });
    });
  } finally {
    machine.removeAllListeners('close');
    machine.kill('SIGKILL');
  }
  const [version = '', reading = ''] = said.split('\r\n');
  expect(version).toBe(`sensor ${sbom.metadata.component.version}*${crc16('sensor 1.4.0')}`);
  const [text = '', check] = reading.split('*');
  expect(text).toMatch(/^T -?\d+ mC$/);
  expect(check).toBe(crc16(text));
}, 60_000);

describe('its SBOM', () => {
  const named = (name: string) => sbom.components.find((component) => component.name === name);

  test('names the vendored library that is in the image, by its own tags, and not the one that the linker dropped', () => {
    expect(named('crc16')).toMatchObject({
      version: '1.2.0',
      supplier: { name: 'Example Check Sums', url: ['https://sums.example/'] },
      licenses: [{ license: { id: 'MIT' } }],
      purl: 'pkg:generic/crc16@1.2.0',
      cpe: 'cpe:2.3:a:example:crc16:1.2.0:*:*:*:*:*:*:*',
      evidence: { occurrences: [{ location: 'firmware/vendor/crc16/crc16.c' }] },
    });
    expect(named('ring')).toBeUndefined();
    expect(readFileSync(join(out, 'outputs/link/sensor.map'), 'utf8')).toContain('ring.o');
    expect(JSON.stringify([sbom.metadata, sbom.components])).not.toContain('ring.c');
  });

  test('names newlib by archive member, and the toolchain only as what built it', () => {
    expect(named('libnewlib-arm-none-eabi')).toMatchObject({
      evidence: {
        occurrences: expect.arrayContaining([
          {
            location: expect.stringMatching(/libc_nano\.a$/),
            additionalContext: expect.stringMatching(/^member lib_a-snprintf\.o, \d+ bytes in the image$/),
          },
        ]),
      },
    });
    expect(named('gcc-arm-none-eabi')).toBeUndefined();
    expect(sbom.formulation[0]?.components.map(({ name }) => name)).toContain('gcc-arm-none-eabi');
  });

  test('accounts for every byte: our own files are the firmware itself', () => {
    const { component } = sbom.metadata;
    const property = (name: string) => component.properties.find((one) => one.name === name)?.value;
    expect(property('waybill:gap')).toBeUndefined();
    expect(property('waybill:verbatimSizeBytes')).toBe(property('waybill:linkedSizeBytes'));
    expect(component).toMatchObject({
      licenses: [{ license: { id: 'Apache-2.0' } }],
      evidence: {
        occurrences: ['main', 'reading', 'startup', 'syscalls', 'uart'].map((name) => ({
          location: `firmware/src/${name}.c`,
        })),
      },
    });
  });

  test('ties board and microcontroller to the firmware', () => {
    expect(sbom.components.filter(({ type }) => type === 'device').map(({ name }) => name)).toEqual([
      'LM3S6965 Evaluation Board',
      'LM3S6965',
    ]);
    expect(sbom.dependencies).toContainEqual({
      ref: 'hardware:LM3S6965@',
      dependsOn: ['pkg:generic/sensor@1.4.0'],
    });
  });

  test('is scored: NTIA and CRA whole, BSI with what is missing', async () => {
    const scored = await waybill('sbom', 'score', join(out, 'sboms/sensor.bin.cdx.json'), '--json');
    expect(scored.code).toBe(0);
    const { standards } = JSON.parse(scored.stdout);
    expect(standards.map(({ met, of }: { met: number; of: number }) => met === of)).toEqual([
      true,
      false,
      true,
    ]);
    const table = await waybill('sbom', 'score', join(out, 'sboms/sensor.bin.cdx.json'));
    expect(table.stdout).toMatch(/partly {3}distribution licences: 2 of 3, without libnewlib-arm-none-eabi/);
  });
});

test('every part of the toolchain that took part is named with its package and version', () => {
  const audit: {
    packages: { name: string; version: string; sha256: string; ran: string[]; read: string[] }[];
    inputs: { name: string; unexplained: string[] }[];
  } = JSON.parse(readFileSync(join(out, 'audit.json'), 'utf8'));
  for (const [name, file] of [
    ['gcc-arm-none-eabi', /\/cc1$/],
    ['gcc-arm-none-eabi', /\/liblto_plugin\.so$/],
    ['gcc-arm-none-eabi', /\/libgcc\.a$/],
    ['binutils-arm-none-eabi', /\/as$/],
    ['binutils-arm-none-eabi', /\/ld$/],
    ['libnewlib-arm-none-eabi', /\/nano\.specs$/],
    ['libnewlib-arm-none-eabi', /\/libc_nano\.a$/],
  ] as const) {
    const found = audit.packages.find((one) => one.name === name);
    expect([...(found?.ran ?? []), ...(found?.read ?? [])]).toContainEqual(expect.stringMatching(file));
    expect([found?.version, found?.sha256]).toEqual([
      expect.stringMatching(/^\d/),
      expect.stringMatching(/^[0-9a-f]{64}$/),
    ]);
  }
  // Compiled and dropped: read, and in no image.
  expect(audit.inputs[0]).toMatchObject({
    name: 'firmware',
    unexplained: expect.arrayContaining(['vendor/ring/ring.c']),
  });
  const pruned = readdirSync(join(out, 'statements')).find((name) => name.endsWith('test-result.json')) ?? '';
  expect(readFileSync(join(out, 'statements', pruned), 'utf8')).toContain('"result":"PASSED"');
});

test('its lock fits its sources', async () => {
  expect(await waybill('lock', join(repository, 'examples/sensor/waybill.yaml'), '--check')).toMatchObject({
    code: 0,
  });
});
