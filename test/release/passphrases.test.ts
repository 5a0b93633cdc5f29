// SPDX-License-Identifier: Apache-2.0
// Private keys under a passphrase: made, read by OpenSSL and by every command that signs, and asked for without a trace.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { init } from '../../cli/init.ts';
import { generateKey, readAnyKey, readPrivateKey, writeKeyPair } from '../../release/key-file.ts';
import { readPassphraseFile } from '../../release/passphrase.ts';
import { House } from './house.ts';
import { waybill } from './run-waybill.ts';

const PASSPHRASE = 'correct horse battery staple';
const WAYBILL = new URL('../../cli/waybill.js', import.meta.url).pathname;
let folder: string;
const at = (name: string) => join(folder, name);
const asking = (passphrase: string) => ({ ask: async () => passphrase });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-passphrase-'));
  await writeFile(at('passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a key is encrypted, read with its passphrase alone, and by OpenSSL', async () => {
  const made = await waybill(
    'key',
    'new',
    '--for',
    'root',
    at('k.pem'),
    '--passphrase-file',
    at('passphrase'),
  );
  expect(made.code).toBe(0);
  const text = await readFile(at('k.pem'), 'utf8');
  expect(text).toContain('-----BEGIN ENCRYPTED PRIVATE KEY-----');
  const key = await readPrivateKey(at('k.pem'), 'ed25519', asking(PASSPHRASE));
  expect(key.type).toBe('private');
  await expect(readPrivateKey(at('k.pem'), 'ed25519', asking('another'))).rejects.toMatchObject({
    code: 'CEREMONY_PASSPHRASE_WRONG',
  });
  await expect(readAnyKey(at('k.pem'))).rejects.toMatchObject({ code: 'CEREMONY_PASSPHRASE_MISSING' });
  const words = ['pkey', '-in', at('k.pem'), '-passin', `file:${at('passphrase')}`, '-pubout'];
  const { stdout } = await promisify(execFile)('openssl', words);
  expect(stdout).toBe(await readFile(at('k.pub'), 'utf8'));
  const shown = await waybill('key', 'show', at('k.pem'), '--passphrase-file', at('passphrase'));
  expect(shown.out).toContain(stdout.trim());
});

test("a passphrase file is its owner's alone, and has one line", async () => {
  const unsuitable = { code: 'CEREMONY_PASSPHRASE_UNSUITABLE' };
  await chmod(at('passphrase'), 0o644);
  await expect(readPassphraseFile(at('passphrase'))).rejects.toMatchObject(unsuitable);
  await writeFile(at('empty'), '\nsecond line', { mode: 0o600 });
  await expect(readPassphraseFile(at('empty'))).rejects.toMatchObject(unsuitable);
  await writeFile(at('long'), 'x'.repeat(4097), { mode: 0o600 });
  await expect(readPassphraseFile(at('long'))).rejects.toMatchObject(unsuitable);
  await expect(readPassphraseFile(at('none'))).rejects.toMatchObject({ code: 'CEREMONY_KEY_UNREADABLE' });
  await writeFile(at('short'), 'fifteen letters', { mode: 0o600 });
  const token = await waybill('key', 'new', '--for', 'root', 'pkcs11:token=a;pin-value=73519');
  expect([token.code, token.err.includes('CLI_USAGE')]).toEqual([2, true]);
  expect(token.out + token.err).not.toContain('73519');
  const refused = await waybill('key', 'new', '--for', 'root', at('k.pem'), '--passphrase-file', at('short'));
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('CEREMONY_PASSPHRASE_UNSUITABLE') });
  expect(refused.err).not.toContain('fifteen letters');
  expect(await readdir(folder)).not.toContain('k.pem');
});

test('a ceremony encrypts every offline key, the roots of both authorities too', async () => {
  const made = await init({
    folder: at('data'),
    offline: at('offline'),
    url: 'http://127.0.0.1:8410',
    org: 'acme.example',
    ...{ rootKeys: 2, rootThreshold: 2, targetsKeys: 3, targetsThreshold: 2, passphrase: PASSPHRASE },
  });
  const names = made.offlineKeys.map((path) => path.slice(at('offline').length + 1));
  expect(names).toEqual([
    'ca-root.pem',
    'root-1.pem',
    'root-2.pem',
    'targets-1.pem',
    'targets-2.pem',
    'targets-3.pem',
    'tsa-root.pem',
  ]);
  for (const [i, path] of made.offlineKeys.entries()) {
    expect(await readFile(path, 'utf8')).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
    const isTuf = /root-|targets-/.test(names[i] as string) && !/^(?:ca|tsa)-/.test(names[i] as string);
    await readPrivateKey(path, isTuf ? 'ed25519' : 'p256', asking(PASSPHRASE));
  }
  const root = JSON.parse(await readFile(made.rootPath, 'utf8')).signed;
  expect(root.roles.targets).toMatchObject({ keyids: { length: 3 }, threshold: 2 });
});

test('every command that signs takes encrypted keys', { timeout: 120_000 }, async () => {
  const house = await House.open();
  try {
    for (const [name, kind] of [
      ['gate', 'p256'],
      ['releases', 'ed25519'],
    ] as const) {
      await rm(house.path(`${name}.pem`));
      await rm(house.path(`${name}.pub`));
      await writeKeyPair(house.path(`${name}.pem`), generateKey(kind), PASSPHRASE);
    }
    const passphrases = asking(PASSPHRASE);
    await house.product('add');
    const build = await house.build('8.0.0');
    await house.attestBuild(build);
    await expect(house.gate(build)).rejects.toMatchObject({ code: 'CEREMONY_PASSPHRASE_MISSING' });
    await house.gate(build, { passphrases });
    const wrong = { passphrases: asking('another') };
    await expect(house.release(build, wrong)).rejects.toMatchObject({ code: 'CEREMONY_PASSPHRASE_WRONG' });
    await house.release(build, { passphrases });
  } finally {
    await house.close();
  }
});

/** Types into a command on a terminal of its own, each line after the prompt that asks for it; returns what the terminal showed. */
async function typed(words: readonly string[], lines: readonly string[]): Promise<string> {
  const command = [process.execPath, WAYBILL, ...words].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  child.stdout.on('data', (chunk) => {
    shown += chunk;
  });
  const ended = once(child, 'exit');
  for (const [i, line] of lines.entries()) {
    await expect.poll(() => shown.split('passphrase for').length - 1, { timeout: 20_000 }).toBeGreaterThan(i);
    child.stdin.write(line);
  }
  await ended;
  return shown;
}

test('on a terminal it is asked for, twice for new keys, and nothing of it is shown', async () => {
  const words = ['key', 'new', '--for', 'root', at('k.pem'), '--encrypt'];
  const shown = await typed(words, [`xy\u007f\b${PASSPHRASE}\r`, `${PASSPHRASE}\n`]);
  expect(shown).toContain('passphrase for the new keys, at least 16 characters: ');
  expect(shown).toContain('passphrase for the new keys, again');
  for (const part of PASSPHRASE.split(' ')) expect(shown).not.toContain(part);
  await readPrivateKey(at('k.pem'), 'ed25519', asking(PASSPHRASE));
  const differing = await typed(
    ['key', 'new', '--for', 'root', at('two.pem'), '--encrypt'],
    [`${PASSPHRASE}\r`, `${PASSPHRASE}!\r`],
  );
  expect(differing).toContain('CEREMONY_PASSPHRASE_UNREPEATED');
  expect(differing).toContain('type the same passphrase twice');
  const short = await typed(
    ['key', 'new', '--for', 'root', at('two.pem'), '--encrypt'],
    ['fifteen letters\r'],
  );
  expect(short).toContain('what to do: Take one of at least 16 characters');
  const cancelled = await typed(['key', 'show', at('k.pem')], ['\u0003']);
  expect(cancelled).toContain('CLI_CANCELLED');
  const nothing = await typed(['key', 'show', at('k.pem')], ['\r']);
  expect(nothing).toContain('CEREMONY_PASSPHRASE_MISSING');
  expect(await readdir(folder)).not.toContain('two.pem');
});

test('without a terminal and a file nobody is asked', async () => {
  const refused = await waybill('key', 'new', '--for', 'root', at('k.pem'), '--encrypt');
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('CEREMONY_PASSPHRASE_MISSING') });
});
