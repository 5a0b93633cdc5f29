// SPDX-License-Identifier: Apache-2.0
// Commands that make private keys, interrupted: no key is left that nobody was told of, and what SIGKILL left is removed by the next run.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { init } from '../../cli/init.ts';
import { makeOnlineKeys } from '../../cli/tuf.ts';
import { type NewFile, writeNewFiles } from '../../registry/trust/files.ts';
import { generateKey, writeKeyPair } from '../../release/key-file.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';
import { say } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
/** As writes name what they move into place. */
const LEFT = '0123456789ab.new';
const STOP = new Error('stop');

let home: string;
let folder: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-broken-off-'));
  await init({
    ...{ folder: join(home, 'data'), offline: join(home, 'offline'), url: 'http://127.0.0.1:8410' },
    ...{ org: 'acme.example', rootKeys: 1, rootThreshold: 1 },
  });
});
afterAll(() => rm(home, { recursive: true }));
beforeEach(async () => {
  folder = await mkdtemp(join(home, 'test-'));
});
const at = (name: string) => join(folder, name);
const data = (...names: string[]) => join(home, 'data', ...names);

/** Loaded before the command: at the first private key that is written the signal is there. */
const interrupting = (name: NodeJS.Signals) => `
  import fs from 'node:fs/promises';
  import { syncBuiltinESMExports } from 'node:module';
  const { open } = fs;
  let isSent = false;
  fs.open = async (path, ...more) => {
    const file = await open(path, ...more);
    if (isSent || !/[.]pem[.][0-9a-f]{12}[.]new$/.test(path)) return file;
    isSent = true;
    process.kill(process.pid, '${name}');
    await new Promise((resolve) => setTimeout(resolve, 50));
    return file;
  };
  syncBuiltinESMExports();`;

test.each([
  ['key new', 'SIGINT', () => ['key', 'new', '--for', 'gate', at('k.pem')]],
  ['key new', 'SIGHUP', () => ['key', 'new', '--for', 'gate', at('k.pem')]],
  ['rotate', 'SIGINT', () => ['rotate', data(), 'ca-root', '--offline', folder]],
  ['tuf online-keys', 'SIGINT', () => ['tuf', 'online-keys', data()]],
  ['init', 'SIGHUP', () => ['init', at('reg'), '--offline', at('off'), '--url', 'http://127.0.0.1:1']],
] as const)(
  '%s says that %s cancelled it, and leaves nothing',
  { timeout: 30_000 },
  async (_, name, words) => {
    const before = await readdir(data('keys'));
    const preload = `data:text/javascript,${encodeURIComponent(interrupting(name))}`;
    const child = spawn(process.execPath, ['--import', preload, WAYBILL, ...words()], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += chunk;
    });
    expect([(await once(child, 'close'))[0], said]).toEqual([75, expect.stringContaining('CLI_CANCELLED')]);
    expect(await readdir(folder)).toEqual([]);
    expect(await readdir(data('keys'))).toEqual(before);
    expect(await readdir(data('trust'))).not.toContain('ca-chain-2.pem');
  },
);

test('a cancel while files of keys are written removes those that are there', async () => {
  const controller = new AbortController();
  const file = (name: string, then = () => undefined as unknown): NewFile => ({
    path: at(name),
    secret: true,
    get text() {
      then();
      return 'key';
    },
  });
  const last = file('b', () => controller.abort(STOP));
  await expect(writeNewFiles([file('a'), last], controller.signal)).rejects.toBe(STOP);
  const aborted = AbortSignal.abort(STOP);
  await expect(writeKeyPair(at('k.pem'), generateKey('p256'), undefined, aborted)).rejects.toBe(STOP);
  expect(await readdir(folder)).toEqual([]);
  const before = await readdir(data('keys'));
  await expect(makeOnlineKeys(data(), aborted)).rejects.toBe(STOP);
  expect(await readdir(data('keys'))).toEqual(before);
});

test('what a write that was killed left is removed by the next of that file, whether it was in place or not', async () => {
  const other = `other.pem.${LEFT}`;
  const keep = ['mine.new', `k.pem.x.${LEFT}`, other];
  for (const name of [`k.pem.${LEFT}`, ...keep]) await writeFile(at(name), 'key');
  expect((await say(['key', 'new', '--for', 'gate', at('k.pem')])).code).toBe(0);
  expect((await readdir(folder)).sort()).toEqual([...keep, 'k.pem', 'k.pub'].sort());
  await link(at('k.pem'), at(`k.pem.${LEFT}`));
  expect((await say(['key', 'new', '--for', 'gate', at('k.pem')])).err).toContain('CEREMONY_KEY_EXISTS');
  expect(await readdir(folder)).not.toContain(`k.pem.${LEFT}`);
  const file = (name: string) => ({ path: at(name), text: 'new', secret: true });
  await writeNewFiles([file('other.pem')]);
  expect(await readdir(folder)).not.toContain(other);
  await link(at('other.pem'), at(other));
  expect(await codeOfAsync(writeNewFiles([file('other.pem')]))).toBe('CA_FILES_EXIST');
  expect(await readdir(folder)).not.toContain(other);
});

test('the next online keys remove what is left of others; the next root key its own, and the message says what to do', async () => {
  await writeFile(data('keys', `tuf-snapshot-7.pem.${LEFT}`), 'key');
  expect((await say(['tuf', 'online-keys', data()])).code).toBe(0);
  expect((await readdir(data('keys'))).filter((name) => name.endsWith('.new'))).toEqual([]);
  await writeFile(at('ca-root-2.pem'), 'key');
  await link(at('ca-root-2.pem'), at(`ca-root-2.pem.${LEFT}`));
  const { code, err } = await say(['rotate', data(), 'ca-root', '--offline', folder]);
  expect(code).toBe(2);
  expect(err).toMatch(
    /if a rotation that was broken off made it, remove it[\s\S]*what to do: .*or remove the file if/,
  );
  expect(await readdir(folder)).toEqual(['ca-root-2.pem']);
});

test('a rotation lists the certificates that it made', async () => {
  const words = ['rotate', data(), 'tsa', '--offline', join(home, 'offline')];
  const chain = data('trust', 'tsa-chain-2.pem');
  expect((await say(words)).out).toContain(`  made     ${chain}  (certificates)\n`);
  expect(await readFile(chain, 'utf8')).toContain('BEGIN CERTIFICATE');
  const since = new Date(Date.now() - 1).toISOString();
  const { out } = await say([...words, '--stolen-since', since, '--json']);
  expect(JSON.parse(out)).toMatchObject({ chain: data('trust', 'tsa-chain-3.pem') });
});
