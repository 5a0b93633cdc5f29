// SPDX-License-Identifier: Apache-2.0
// Resolving with apt in a private folder, against a signed archive on this machine.

import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { lockInputs } from '../../builder/lock.ts';
import { checkLock, debianInputs, formatLock, type Lock, parseLock } from '../../builder/lock-file.ts';
import { nearNames } from '../../builder/near-names.ts';
import { ARCHITECTURE, type Archive, makeArchive } from './archive.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

let archive: Archive;
beforeAll(() => {
  archive = makeArchive([
    // coreutils is installed on every Debian host: its state must not count as a dependency met.
    { name: 'app', version: '2:1.0+x~y-1', depends: 'library (>= 1), coreutils' },
    { name: 'library' },
    { name: 'coreutils', version: '0.1' },
    { name: 'unrelated' },
    { name: 'broken', depends: 'nowhere' },
  ]);
});
afterEach(() => archive.sign());
afterAll(() => archive.close());

const definitionOf = (packages: readonly string[]) =>
  readYaml(yamlOver(archive, stepYaml('true'), { packages }));
const lockOf = (packages: readonly string[], mirror = archive.url) =>
  lockInputs(definitionOf(packages), { folder: '/', mirror });
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (failure: { code?: string }) => failure.code,
  );

describe('resolving', () => {
  test('gives the closure alone, as the archive has it, whatever the host has', async () => {
    const lock = await lockOf(['app']);
    const [input] = debianInputs(lock);
    expect(input?.packages.map(({ name, version }) => `${name} ${version}`).sort()).toEqual([
      'app 2:1.0+x~y-1',
      'coreutils 0.1',
      'library 1.0-1',
    ]);
    expect(input?.signers).toEqual([archive.fingerprint]);
    const app = input?.packages.find(({ name }) => name === 'app');
    expect(app?.path).toBe(`pool/app_1.0+x~y-1_${ARCHITECTURE}.deb`);
    expect(app?.architecture).toBe(ARCHITECTURE);
  });

  test('twice gives the same bytes, which parse to the same lock and name no mirror', async () => {
    const [first, second] = [formatLock(await lockOf(['app'])), formatLock(await lockOf(['app']))];
    expect(Buffer.from(first).equals(second)).toBe(true);
    expect(formatLock(parseLock(first, 'waybill.lock'))).toEqual(first);
    expect(Buffer.from(first).toString()).not.toMatch(/file:|http/);
  });

  test('leaves nothing behind', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('waybill-apt-'));
    await lockOf(['app']);
    await code(lockOf(['nosuch']));
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('waybill-apt-'))).toEqual(before);
  });
});

describe('refusals', () => {
  test.each([
    [['nosuch'], 'LOCK_PACKAGE_UNKNOWN'],
    [['broken'], 'LOCK_CLOSURE_UNRESOLVABLE'],
  ])('packages %s: %s', async (packages, expected) => {
    expect(await code(lockOf(packages))).toBe(expected);
  });

  test('an unknown package is told with its input, its place and names near it', async () => {
    const fault = (name: string) => lockOf(['app', name]).catch((failure: unknown) => failure);
    expect(await fault('librayr')).toMatchObject({
      code: 'LOCK_PACKAGE_UNKNOWN',
      message:
        'expected input tools to name packages of waybill-test test (main), got "librayr"; near it is "library"',
      at: expect.stringMatching(/^waybill\.yaml:14:21: "packages: \[app, librayr\]"$/),
    });
    expect(await fault('quite-another')).toMatchObject({
      message: expect.stringMatching(/got "quite-another"$/),
    });
  });

  test.each([
    ['libc6-dev', ['libc-dev']],
    ['lbic6-dev', ['libc6-dev', 'libc-dev']],
    ['mkae', ['make']],
    ['mk', []],
    ['mak', ['make', 'mawk']],
    ['maak', ['mawk']],
    ['gcc-avrr', ['gcc-avr', 'gcc-arm']],
    ['gccavr', ['gcc-avr']],
    ['gcc-axx', ['gcc-arm', 'gcc-avr']],
    ['gcc-mips', []],
    ['', []],
  ])('names near %s: %s', (name, near) => {
    expect(nearNames(name, ['libc6-dev', 'libc-dev', 'make', 'mawk', 'gcc-avr', 'gcc-arm', ''])).toEqual(
      near,
    );
  });

  test('an index edited after it was signed', async () => {
    const path = join(archive.folder, `dists/test/main/binary-${ARCHITECTURE}/Packages`);
    const good = readFileSync(path);
    writeFileSync(path, good.toString().replace('Version: 0.1', 'Version: 0.2'));
    expect(await code(lockOf(['app']))).toBe('LOCK_SIGNATURE_INVALID');
    writeFileSync(path, good);
  });

  test('an InRelease edited after it was signed, and one by a key that the keyring does not know', async () => {
    const path = join(archive.folder, 'dists/test/InRelease');
    writeFileSync(path, readFileSync(path, 'utf8').replace('Codename: test', 'Codename: test '));
    writeFileSync(path, readFileSync(path, 'utf8').replace('Origin: Waybill-Test', 'Origin: Waybill-Test2'));
    expect(await code(lockOf(['app']))).toBe('LOCK_SIGNATURE_INVALID');
    archive.sign();
    const stranger = makeArchive([{ name: 'app' }]);
    try {
      const mixed = lockInputs(definitionOf(['app']), { folder: '/', mirror: stranger.url });
      expect(await code(mixed)).toBe('LOCK_SIGNATURE_INVALID');
    } finally {
      stranger.close();
    }
  });

  test('an unsigned archive', async () => {
    rmSync(join(archive.folder, 'dists/test/InRelease'));
    expect(await code(lockOf(['app']))).toMatch(/^LOCK_(?:SIGNATURE_INVALID|MIRROR_UNREACHABLE)$/);
  });

  test.each([
    ['Origin: Waybill-Test', 'Origin: Debian'],
    ['Codename: test', 'Codename: other'],
  ])('a signed index of another distribution or suite: %s → %s', async (from, to) => {
    archive.sign((release) => release.replace(from, to));
    // apt itself may already refuse a codename that is not the one asked for.
    expect(await code(lockOf(['app']))).toBe('LOCK_SUITE_MISMATCH');
  });

  test('no mirror, no such mirror, and text that is none', async () => {
    await expect(lockInputs(definitionOf(['app']), { folder: '/' })).rejects.toMatchObject({
      code: 'LOCK_MIRROR_UNKNOWN',
      message: expect.stringMatching(
        /of waybill-test test \(main\) for \S+, which input tools names, got none$/,
      ),
    });
    expect(await code(lockOf(['app'], 'http://127.0.0.1:9/'))).toBe('LOCK_MIRROR_UNREACHABLE');
    for (const text of ['nonsense', 'ftp://host/', 'http://host/ [trusted=yes]', 'http://host/?a']) {
      expect(await code(lockOf(['app'], text))).toBe('LOCK_MIRROR_UNKNOWN');
    }
  });

  test('a keyring that is missing or armoured', async () => {
    const with_ = (keyring: string) =>
      lockInputs(readYaml(yamlOver({ keyring }, stepYaml('true'), { packages: ['app'] })), {
        folder: '/',
        mirror: archive.url,
      });
    expect(await code(with_('/nonexistent.gpg'))).toBe('LOCK_KEYRING_UNREADABLE');
    const armoured = join(archive.folder, 'keyring.asc');
    writeFileSync(armoured, '-----BEGIN PGP PUBLIC KEY BLOCK-----\n');
    expect(await code(with_(armoured))).toBe('LOCK_KEYRING_UNREADABLE');
  });

  test('an interrupt', async () => {
    const signal = AbortSignal.abort(new Error('stop'));
    await expect(
      lockInputs(definitionOf(['app']), { folder: '/', mirror: archive.url, signal }),
    ).rejects.toThrow('stop');
  });
});

describe('a lock', () => {
  let lock: Lock;
  beforeAll(async () => {
    lock = await lockOf(['app']);
  });

  test('that fits is accepted, one of other inputs is not', () => {
    checkLock(definitionOf(['app']), lock);
    const outdated = (change: () => void) =>
      expect(change).toThrow(expect.objectContaining({ code: 'LOCK_OUTDATED' }));
    outdated(() => checkLock(definitionOf(['app', 'unrelated']), lock));
    const [input] = debianInputs(lock);
    if (input === undefined) throw new Error('no input');
    const without = { ...input, packages: input.packages.filter(({ name }) => name !== 'app') };
    outdated(() => checkLock(definitionOf(['app']), { ...lock, inputs: [without] }));
    outdated(() => checkLock(definitionOf(['app']), { ...lock, inputs: [] }));
    outdated(() => checkLock(definitionOf(['app']), { ...lock, inputs: [{ ...input, suite: 'other' }] }));
  });

  test.each([
    ['"lockVersion": 1', '"lockVersion": 2'],
    ['"path": "pool/', '"path": "/pool/'],
    ['"path": "pool/', '"path": "../pool/'],
    ['"path": "pool/', '"path": "http://pool/'],
    ['"kind": "debian"', '"kind": "debian", "mirror": "x"'],
    ['"name": "app"', '"name": "zap"'],
    ['"signers": [', '"signers": ["short",'],
    ['"sizeBytes": ', '"sizeBytes": -'],
    ['"sha256": "', '"sha256": "X'],
    ['"version": "2:', '"version": "2 :'],
    ['{', '{{'],
  ])('with %s → %s is malformed', (from, to) => {
    const text = Buffer.from(formatLock(lock)).toString();
    expect(text).toContain(from);
    expect(() => parseLock(new TextEncoder().encode(text.replace(from, to)), 'waybill.lock')).toThrow(
      expect.objectContaining({ code: 'LOCK_MALFORMED', at: expect.stringContaining('waybill.lock: ') }),
    );
  });
});
