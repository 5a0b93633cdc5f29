// SPDX-License-Identifier: Apache-2.0
// Optiboot from Debian's sources with Debian's toolchain, through the command line: the very bytes that Debian publishes.
// Packages come from the host's mirror once and stay in the user's cache.

import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import { EXIT } from '../../cli/terminal.ts';

const repository = new URL('../../', import.meta.url).pathname;
const waybill = join(repository, 'cli/waybill.js');
const base = mkdtempSync(join(tmpdir(), 'waybill-optiboot-'));
const definition = join(base, 'waybill.yaml');
const out = join(base, 'out');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
function run(
  args: readonly string[],
  options: { env?: Record<string, string>; uid?: number } = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const { env, ...rest } = options;
    const spawned = { ...rest, ...(options.uid === undefined ? {} : { gid: options.uid }) };
    execFile(
      process.execPath,
      [waybill, ...args],
      { ...spawned, cwd: base, env: { ...process.env, ...env }, maxBuffer: 1 << 26 },
      (failure, stdout, stderr) =>
        resolve({ code: failure === null ? 0 : Number(failure.code), stdout, stderr }),
    );
  });
}

/** Whether every user may pass through to a path: a checkout in root's own folder is closed to all others. */
function isOpenToAll(path: string): boolean {
  return (statSync(path).mode & 0o001) !== 0 && (path === '/' || isOpenToAll(dirname(path)));
}

let lockedJson: Ended;
let built: Ended;
beforeAll(async () => {
  // Everybody may read it: one test is another user.
  chmodSync(base, 0o755);
  cpSync(join(repository, 'examples/optiboot/waybill.yaml'), definition);
  lockedJson = await run(['lock', '--json']);
  built = await run(['build', '--out', out, '--json']);
}, 240_000);
afterAll(() => rmSync(base, { recursive: true, force: true }));

describe('Optiboot', () => {
  test('is locked with the chain of signatures', () => {
    expect(lockedJson.stderr).not.toContain('waybill:');
    expect(lockedJson.code).toBe(0);
    const { inputs, packageCount } = JSON.parse(lockedJson.stdout);
    expect(packageCount).toBeGreaterThan(20);
    expect(inputs[0].signers.length).toBeGreaterThan(0);
  });

  test('is byte for byte what Debian publishes', () => {
    expect(built.stderr).not.toContain('waybill:');
    expect(built.code).toBe(0);
    const summary = JSON.parse(built.stdout);
    expect(summary.comparisons).toMatchObject([
      { step: 'image', file: 'optiboot_atmega328.hex', package: 'arduino-core-avr', sizeBytes: 1557 },
    ]);
    expect(summary.sandbox.hermetic).toBe(true);
    const log = readFileSync(join(out, 'logs/compile.log'), 'utf8');
    expect(log).toContain('avr-gcc -g -Wall -Os');
    expect(readdirSync(join(out, 'products'))).toEqual(['optiboot.bin']);
  });

  test('ships arduino-core-avr, and is built with gcc-avr, which does not ship', () => {
    const sbom = JSON.parse(readFileSync(join(out, 'sboms/optiboot.bin.cdx.json'), 'utf8'));
    expect(sbom.components.map(({ name }: { name: string }) => name)).toEqual(['arduino-core-avr']);
    expect(sbom.components[0].licenses).toEqual([
      { license: { id: 'BSD-3-Clause', acknowledgement: 'declared' } },
    ]);
    expect(sbom.components[0].evidence.occurrences).toEqual([
      {
        location: 'usr/share/arduino/hardware/arduino/avr/bootloaders/optiboot/optiboot.c',
        additionalContext: expect.stringMatching(/^\d+ bytes in the image$/),
      },
    ]);
    expect(sbom.compositions).toEqual([
      { aggregate: 'incomplete', assemblies: ['pkg:generic/optiboot@8.0.0'] },
      { aggregate: 'unknown', assemblies: [sbom.components[0]['bom-ref']] },
    ]);
    const builders = sbom.formulation[0].components.map(({ name }: { name: string }) => name);
    expect(builders).toEqual(
      expect.arrayContaining(['gcc-avr', 'binutils-avr', 'avr-libc', 'make', 'libc6']),
    );
  });

  test('is what attest accepts', async () => {
    const output = await readBuildOutput(out);
    expect(output.statements.map(({ name }) => name)).toEqual([
      '01-compile.provenance.json',
      '02-image.provenance.json',
      '03-optiboot.bin.sbom.json',
    ]);
    expect([output.product, output.version]).toEqual(['optiboot', '8.0.0']);
  });

  test('built again, by another user in another place with a cold root, is the same', async () => {
    const other = mkdtempSync(join(tmpdir(), 'waybill-other-'));
    // Only root can become another user, and only where that user may read this checkout.
    const isRoot = process.getuid?.() === 0;
    const canBeAnother = isRoot && [waybill, process.execPath, tmpdir()].map(dirname).every(isOpenToAll);
    try {
      // The packages are lent through a mirror that is the first build's store, so that nothing is fetched twice.
      const lock = JSON.parse(readFileSync(join(base, 'waybill.lock'), 'utf8'));
      const cache = process.env.XDG_CACHE_HOME ?? join(process.env.HOME ?? '', '.cache');
      for (const { path, sha256 } of lock.inputs.flatMap((input: { packages: object[] }) => input.packages)) {
        const stored = join(cache, 'waybill/store/sha256', sha256.slice(0, 2), sha256);
        if (existsSync(stored)) cpSync(stored, join(other, 'mirror', path));
      }
      if (canBeAnother) chmodSync(other, 0o777);
      const args = ['build', definition, '--out', join(other, 'out'), '--mirror', `file://${other}/mirror`];
      const again = await run(args, {
        env: { HOME: other, XDG_CACHE_HOME: join(other, 'cache'), TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8' },
        ...(canBeAnother ? { uid: 65534 } : {}),
      });
      expect(again).toMatchObject({ code: 0, stderr: expect.not.stringContaining('waybill:') });
      for (const file of [
        'outputs/compile/optiboot_atmega328.elf',
        'products/optiboot.bin',
        'sboms/optiboot.bin.cdx.json',
      ]) {
        expect(readFileSync(join(other, 'out', file)).equals(readFileSync(join(out, file)))).toBe(true);
      }
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  }, 120_000);
});

describe('the command line', () => {
  test('says whether a lock fits', async () => {
    expect(await run(['lock', '--check'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('fits'),
    });
    const edited = join(base, 'edited.yaml');
    writeFileSync(edited, readFileSync(definition, 'utf8').replace(', sed]', ', sed, tar]'));
    const outdated = await run(['lock', edited, '--check']);
    expect(outdated.code).toBe(EXIT.refused);
    expect(outdated.stderr).toContain('LOCK_OUTDATED');
    expect((await run(['build', edited, '--out', join(base, 'x')])).stderr).toContain('LOCK_OUTDATED');
  });

  test('names file, line and column of a mistake', async () => {
    const bad = join(base, 'bad.yaml');
    writeFileSync(bad, readFileSync(definition, 'utf8').replace('suite: bookworm', 'sweet: bookworm'));
    const result = await run(['lock', bad]);
    expect(result.code).toBe(EXIT.usage);
    expect(result.stderr).toMatch(/DEFINITION_MALFORMED: unknown member "sweet"[\s\S]*bad\.yaml:13:5/);
  });

  test.each([
    [['build'], EXIT.usage, '--out'],
    [['build', '--out', out], EXIT.usage, 'BUILD_FOLDER_OCCUPIED'],
    [['build', '--out', 'x', '--nonsense'], EXIT.usage, '--nonsense'],
    [['build', 'nosuch.yaml', '--out', 'x'], EXIT.usage, 'CLI_FILE_UNREADABLE'],
    [['build', '--out', 'x', '--builder-id', 'me'], EXIT.usage, 'URI'],
    [['lock', 'nosuch.yaml'], EXIT.usage, 'CLI_FILE_UNREADABLE'],
    [['lock', '--mirror', 'nonsense'], EXIT.usage, 'LOCK_MIRROR_UNKNOWN'],
  ])('%s', async (args, code, said) => {
    const result = await run(args);
    expect(result.stderr).toContain(said);
    expect(result.code).toBe(code);
    expect(existsSync(join(base, 'x'))).toBe(false);
  });

  test('takes the mirror from the environment', async () => {
    const result = await run(['lock'], { env: { WAYBILL_MIRROR: 'nonsense' } });
    expect(result.stderr).toContain('LOCK_MIRROR_UNKNOWN');
  });

  test('has help with an example for both', async () => {
    for (const verb of ['lock', 'build']) {
      const { stdout, code } = await run([verb, '--help']);
      expect(stdout).toContain(`waybill ${verb} examples/optiboot/waybill.yaml`);
      expect(code).toBe(0);
    }
  });

  test('builds once more from the cache, and replaces the folder when told', async () => {
    const again = await run(['build', '--out', out, '--force']);
    expect(again.stderr).not.toContain('fetched');
    expect(again.stdout).toContain('is byte for byte');
    expect(again.code).toBe(0);
  });

  test('is interrupted: says so, leaves no folder and no process', async () => {
    const slow = join(base, 'slow.yaml');
    const text = readFileSync(definition, 'utf8').replace(
      'command: |',
      'command: |\n      echo x; sleep 7777',
    );
    writeFileSync(slow, text);
    const child = spawn(process.execPath, [waybill, 'build', slow, '--out', 'interrupted'], { cwd: base });
    let stderr = '';
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
        if (stderr.includes('step compile')) resolve();
      });
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(stderr).toContain('CLI_CANCELLED');
    expect(code).toBe(EXIT.retry);
    expect(readdirSync(base).filter((name) => name.includes('interrupted'))).toEqual([]);
    const commands = readdirSync('/proc').map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });
    expect(commands.filter((command) => command.includes('sleep\0' + '7777'))).toEqual([]);
  });

  test('on a full disk: says so and leaves nothing', async () => {
    const lines = ['--dev-bind', '/', '/', '--size', '8192', '--tmpfs', '/mnt', process.execPath, waybill];
    const result = await new Promise<Ended>((resolve) =>
      execFile('bwrap', [...lines, 'build', definition, '--out', '/mnt/out'], (failure, stdout, stderr) =>
        resolve({ code: Number(failure?.code ?? 0), stdout, stderr }),
      ),
    );
    expect(result.stderr).toMatch(/BUILD_FOLDER_UNWRITABLE.*ENOSPC/);
    expect(result.code).toBe(EXIT.retry);
  });
});
