// SPDX-License-Identifier: Apache-2.0
// Key files: made by the command line, never overwritten, read only as what they are.

import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  generateKey,
  publicKeyPem,
  readAnyKey,
  readPrivateKey,
  readPublicKey,
  writeKeyPair,
} from '../../release/key-file.ts';
import { waybill } from './run-waybill.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-keys-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

test.each([
  ['gate', 'ECDSA P-256', 'p256'],
  ['device', 'ECDSA P-256', 'p256'],
  ['releases', 'Ed25519', 'ed25519'],
] as const)('a key for %s is %s, private to its owner', async (holder, name, algorithm) => {
  const made = await waybill('key', 'new', '--for', holder, at('k.pem'), '--json');
  expect(made).toMatchObject({ code: 0 });
  const { algorithm: shown, keyId, publicKeyPem: pem } = JSON.parse(made.out);
  expect(shown).toBe(name);
  expect((await stat(at('k.pem'))).mode & 0o777).toBe(0o600);
  expect(await readFile(at('k.pub'), 'utf8')).toBe(pem);
  expect(publicKeyPem(await readPrivateKey(at('k.pem'), algorithm))).toBe(pem);
  for (const half of ['k.pem', 'k.pub']) {
    const show = await waybill('key', 'show', at(half));
    expect(show.out).toContain(keyId);
    expect(show.out).toContain(pem.trim());
    expect(show.out).not.toContain('PRIVATE');
  }
});

test('neither half overwrites a file, and then neither is written', async () => {
  for (const taken of ['k.pem', 'k.pub']) {
    await writeFile(at(taken), 'precious');
    const refused = await waybill('key', 'new', '--for', 'gate', at('k.pem'));
    expect(refused.code).toBe(2);
    expect(refused.err).toContain('CEREMONY_KEY_EXISTS');
    expect(await readdir(folder)).toEqual([taken]);
    expect(await readFile(at(taken), 'utf8')).toBe('precious');
    await rm(at(taken));
  }
});

test('a key that is missing or of another kind is refused, and its text is not repeated', async () => {
  await writeKeyPair(at('gate.pem'), generateKey('p256'));
  await writeFile(at('text.pem'), 'secret text');
  const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 1024 });
  await writeFile(at('rsa.pem'), rsa.export({ type: 'pkcs8', format: 'pem' }));
  const unsuitable = { code: 'CEREMONY_KEY_UNSUITABLE' };
  await expect(readPrivateKey(at('none.pem'), 'p256')).rejects.toMatchObject({
    code: 'CEREMONY_KEY_UNREADABLE',
  });
  await expect(readPrivateKey(at('gate.pem'), 'ed25519')).rejects.toMatchObject(unsuitable);
  await expect(readPrivateKey(at('gate.pub'), 'p256')).rejects.toMatchObject(unsuitable);
  await expect(readPublicKey(at('gate.pem'), 'p256')).rejects.toMatchObject({
    ...unsuitable,
    message: expect.stringContaining('got a private one'),
  });
  await expect(readAnyKey(at('rsa.pem'))).rejects.toMatchObject(unsuitable);
  const failure: unknown = await readPrivateKey(at('text.pem'), 'p256').catch((cause) => cause);
  expect(failure).toMatchObject(unsuitable);
  expect(String(failure)).not.toContain('secret');
});

test.each([
  [['key', 'new', 'k.pem'], 'missing option'],
  [['key', 'new', '--for', 'nobody', 'x'], 'unknown holder'],
  [['key', 'show'], 'missing argument'],
  [['key', 'show', '--nonsense', 'x'], 'unknown option'],
])('%j is a usage error: %s', async (words) => {
  expect((await waybill(...words)).code).toBe(2);
});
