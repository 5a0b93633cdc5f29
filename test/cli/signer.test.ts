// SPDX-License-Identifier: Apache-2.0
// `waybill signer serve` as a user runs it: a process of its own that signs for one service until it is told to stop.

import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { utf8 } from '../../core/encoding/utf8.ts';
import { treeHead } from '../../registry/ct/structures.ts';
import { connectSigner } from '../../registry/signer/signer-client.ts';
import { newSigner } from '../../registry/trust/signer.ts';
import { codeOfAsync } from '../core/tlog/refusal.ts';
import { lacksTokens, Tokens } from '../release/token-house.ts';
import { say } from './command-line.ts';

const WAYBILL = fileURLToPath(new URL('../../cli/waybill.js', import.meta.url));
let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'waybill-signer-cli-'));
  const { privateKey } = generateKeyPairSync('ed25519');
  await writeFile(at('log.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(at('tsa.pem'), newSigner().pem, { mode: 0o600 });
  await writeFile(at('open.pem'), newSigner().pem, { mode: 0o644 });
});
afterAll(() => rm(folder, { recursive: true }));

test('signs checkpoints of its log in its own process, and stops when told', {
  timeout: 60_000,
}, async () => {
  const argv = ['signer', 'serve', '--for', 'log', '--origin', 'log.example', '--key', at('log.pem')];
  const child = spawn(process.execPath, [WAYBILL, ...argv, '--socket', at('log.sock'), '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let [said, logged] = ['', ''];
  child.stderr.on('data', (chunk) => {
    logged += chunk;
  });
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  await expect.poll(() => said, { timeout: 30_000 }).toMatch(/\}\n$/);
  expect(JSON.parse(said)).toEqual({ service: 'log', socket: at('log.sock'), pid: child.pid });
  const signer = await connectSigner(at('log.sock'), 'log');
  const checkpoint = (origin: string) => utf8(`${origin}\n7\n${Buffer.alloc(32).toString('base64')}\n`);
  child.kill('SIGHUP');
  await expect.poll(() => logged).toContain('SIGHUP changes nothing');
  expect((await signer.sign(checkpoint('log.example'))).length).toBe(64);
  expect(await codeOfAsync(signer.sign(checkpoint('log.other')))).toBe('SIGNER_ANSWER_WRONG');
  await expect.poll(() => logged).toContain('SIGNER_DATA_REFUSED');
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  const next = spawn(process.execPath, [WAYBILL, ...argv, '--socket', at('log.sock')], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onTestFinished(() => void next.kill('SIGKILL'));
  await once(next.stdout, 'data');
  const again = await connectSigner(at('log.sock'), 'log');
  expect((await again.sign(checkpoint('log.example'))).length).toBe(64);
  // A name that was mistyped is looked for before anything is done to the file.
  const mistyped = argv.map((word) => (word === 'log.example' ? 'log.exmaple' : word));
  const refused = await say([...mistyped, '--socket', at('other.sock')]);
  expect(refused.code).toBe(2);
  expect(refused.err).toMatch(
    /SIGNER_MEMORY_UNUSABLE: .*"log\.exmaple".*"log\.example".*--origin.*--memory.*empty/s,
  );
  // It remembers the last size.
  const smaller = utf8(`log.example\n6\n${Buffer.alloc(32).toString('base64')}\n`);
  expect(await codeOfAsync(again.sign(smaller))).toBe('SIGNER_ANSWER_WRONG');
  next.kill('SIGTERM');
  await once(next, 'exit');
  expect(await codeOfAsync(connectSigner(at('log.sock'), 'log'))).toBe('SIGNER_UNREACHABLE');
});

test('keys as docs/spec/signer.md has them made are ones that signers hold', {
  timeout: 60_000,
}, async () => {
  const [, commands = ''] =
    /```sh\n(openssl .*?)```/s.exec(await readFile('docs/spec/signer.md', 'utf8')) ?? [];
  const made = at('made');
  await mkdir(made);
  execFileSync('bash', ['-euc', commands], { cwd: made, stdio: 'ignore' });
  const ready = (['ca', 'ct', 'tsa', 'log'] as const).map(async (service) => {
    const key = service === 'log' ? ['log.pem', '--origin', 'log.example'] : ['tsa.pem'];
    const memory = service === 'ct' ? ['--memory', 'ct.size'] : [];
    const argv = ['signer', 'serve', '--for', service, '--key', ...key, ...memory];
    const child = spawn(process.execPath, [WAYBILL, ...argv, '--socket', join(made, `${service}.sock`)], {
      cwd: made,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    expect(String(said)).toContain(`ready for ${service}`);
  });
  await Promise.all(ready);
});

test('a key in a token of SoftHSM signs as one in a file; a log takes none', {
  timeout: 60_000,
}, async (context) => {
  const lacks = lacksTokens();
  if (lacks !== undefined) context.skip(lacks);
  const tokens = await Tokens.open(folder);
  await tokens.make('services', 'a long enough pin');
  await tokens.addKey('services', 'ct', '01');
  const argv = (service: string, ...more: string[]) => [
    ...[
      'signer',
      'serve',
      '--for',
      service,
      '--key',
      tokens.uri('services', 'ct'),
      '--socket',
      at('ct.sock'),
    ],
    ...more,
  ];
  const nowhere = await say(argv('ct'));
  expect([nowhere.code, nowhere.err]).toEqual([
    2,
    expect.stringContaining('expected --memory with a key in a token'),
  ]);
  const child = spawn(process.execPath, [WAYBILL, ...argv('ct', '--memory', at('ct.size'))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
  });
  await expect.poll(() => said, { timeout: 30_000 }).toContain(`ready for ct at ${at('ct.sock')}`);
  const signer = await connectSigner(at('ct.sock'), 'ct');
  // The client verifies what it gets.
  expect((await signer.sign(treeHead(1, 5n, new Uint8Array(32))))[0]).toBe(0x30);
  child.kill('SIGTERM');
  await once(child, 'exit');
  const log = await say(argv('log', '--origin', 'log.example'));
  expect(log.code).toBe(2);
  expect(log.err).toContain('SIGNER_KEY_UNSUITABLE');
});

describe('refused', () => {
  test.each([
    [['--for', 'tsa', '--key', 'log.pem'], 'CEREMONY_KEY_UNSUITABLE', 'ECDSA P-256'],
    [['--for', 'log', '--origin', 'x', '--key', 'tsa.pem'], 'CEREMONY_KEY_UNSUITABLE', 'Ed25519'],
    [['--for', 'log', '--key', 'log.pem'], 'CLI_USAGE', 'expected --origin with --for log'],
    [['--for', 'tsa', '--origin', 'x', '--key', 'tsa.pem'], 'CLI_USAGE', 'with --for log alone'],
    [['--for', 'tsa', '--key', 'open.pem'], 'CA_KEY_EXPOSED', 'open.pem'],
    [['--for', 'tsa', '--key', 'tsa.pem', '--memory', 'x'], 'CLI_USAGE', 'expected --memory with'],
    [
      ['--for', 'log', '--origin', 'x', '--key', 'log.pem', '--memory', 'tsa.pem'],
      'SIGNER_MEMORY_UNUSABLE',
      'tsa.pem',
    ],
    [['--for', 'tsa', '--key', 'none.pem'], 'CEREMONY_KEY_UNREADABLE', 'none.pem'],
  ])('%j', async (words, code, message) => {
    const argv = words.map((word) => (word.endsWith('.pem') ? at(word) : word));
    const said = await say(['signer', 'serve', ...argv, '--socket', at('x.sock')]);
    expect(said.code).toBe(2);
    expect(said.err).toContain(code);
    expect(said.err).toContain(message);
  });

  test('a socket that is no absolute path', async () => {
    const said = await say(['signer', 'serve', '--for', 'tsa', '--key', at('tsa.pem'), '--socket', 'x.sock']);
    expect(said.code).toBe(2);
    expect(said.err).toContain('expected --socket to be an absolute path');
  });
});
