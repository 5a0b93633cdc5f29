// SPDX-License-Identifier: Apache-2.0
// Files that a command reads and writes: whole or not at all, and mistakes shown where they are.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openYaml, readIfThere, readInput, readPieces, writeOutput } from '../../cli/files.ts';
import { readImage } from '../../cli/image.ts';
import { utf8 } from '../../core/encoding/utf8.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-files-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a file that cannot be read is named, with the reason', async () => {
  await expect(readInput(join(folder, 'gone'))).rejects.toMatchObject({ code: 'CLI_FILE_UNREADABLE' });
  await expect(readInput(folder)).rejects.toThrow(/EISDIR/);
});

test('what has no end, or more than is asked for, is not taken into memory', async () => {
  const path = join(folder, 'ten');
  const large = Buffer.alloc(2_500_000, 'piece after piece');
  writeFileSync(path, large);
  expect(Buffer.compare(await readInput(path), large)).toBe(0);
  writeFileSync(path, '0123456789');
  expect(await readInput(path, 10)).toHaveLength(10);
  await expect(readInput(path, 9)).rejects.toMatchObject({ code: 'CLI_FILE_UNREADABLE' });
  await expect(readInput('/dev/zero')).rejects.toThrow(/at most 16777216 bytes/);
  rmSync(path);
});

test('a pipe is read to its end; one that nobody writes to is empty, and nobody waits for it', async () => {
  const pipe = join(folder, 'pipe');
  expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
  expect(await readInput(pipe)).toHaveLength(0);
  const writer = spawn('sh', ['-c', 'exec 3<>"$0"; sleep 0.3; echo late >&3', pipe]);
  const pieces: Uint8Array[] = [];
  // The writer holds the pipe open for a moment without a word.
  while (pieces.length === 0) for await (const piece of readPieces(pipe)) pieces.push(piece.slice());
  expect(Buffer.concat(pieces).toString()).toBe('late\n');
  if (writer.exitCode === null) await new Promise((resolve) => writer.on('close', resolve));
  rmSync(pipe);
});

test('an image that takes long says how far it is', async () => {
  const pipe = join(folder, 'pipe');
  spawnSync('mkfifo', [pipe]);
  const writer = spawn('sh', ['-c', 'exec 3<>"$0"; echo ready; sleep 2; echo late >&3', pipe]);
  await once(writer.stdout, 'data');
  const said: string[] = [];
  expect(await readImage(pipe, (text) => said.push(text))).toMatchObject({ sizeBytes: 5 });
  expect(said).toEqual([`read 0 MiB of "${pipe}"`]);
  rmSync(pipe);
});

test('a name that came from elsewhere leads to a file or to nothing', async () => {
  const pipe = join(folder, 'pipe');
  spawnSync('mkfifo', [pipe]);
  mkdirSync(join(folder, 'sub'));
  writeFileSync(join(folder, 'file'), 'x');
  const names = [
    'pipe',
    'sub',
    'gone',
    'file/below',
    '..',
    'a\0b',
    'n'.repeat(300),
    '/../../../../../../dev/zero',
  ];
  for (const name of names) expect(await readIfThere(join(folder, name)), name).toBeUndefined();
  expect(await readIfThere(join(folder, 'file'))).toHaveLength(1);
  for (const name of ['pipe', 'sub', 'file']) rmSync(join(folder, name), { recursive: true });
});

test('a file is written whole, with its mode, and nothing lies beside it', async () => {
  const path = join(folder, 'a', 'secret.pem');
  await writeOutput(path, 'first', 0o600);
  await writeOutput(path, 'second', 0o600);
  expect(readFileSync(path, 'utf8')).toBe('second');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(folder, 'a'))).toEqual(['secret.pem']);
});

test('what cannot be written leaves the old file and nothing else', async () => {
  const blocked = join(folder, 'b');
  writeFileSync(blocked, 'a file, not a folder');
  await expect(writeOutput(join(blocked, 'c'), 'x')).rejects.toMatchObject({
    name: 'Unavailable',
    code: 'CLI_FILE_UNWRITABLE',
  });
  // The rename is what fails here: a folder stands in the way.
  await expect(writeOutput(join(folder, 'a'), 'x')).rejects.toMatchObject({ code: 'CLI_FILE_UNWRITABLE' });
  expect(readdirSync(folder).sort()).toEqual(['a', 'b']);
  expect(readFileSync(blocked, 'utf8')).toBe('a file, not a folder');
});

/** Place and message of the fault that reading gives. */
function faultOf(text: string, read: (document: ReturnType<typeof openYaml>) => unknown): [string, string] {
  try {
    read(openYaml('p.yaml', utf8(text)));
  } catch (fault) {
    const { code, at, message } = fault as { code: string; at: string; message: string };
    expect(code).toBe('CLI_DOCUMENT_MALFORMED');
    return [at, message];
  }
  throw new Error('expected a fault, got none');
}

test('mistakes in YAML are shown with file, line, column and the text there', () => {
  expect(faultOf('a: 1\nb: [1,\n', () => undefined)[0]).toMatch(/^p\.yaml:3:1: /);
  expect(faultOf('a: 1\na: 2\n', () => undefined)[0]).toBe('p.yaml:2:1: "a: 2"');
  const text = 'a:\n  - name: x\n    size: big\n';
  const [at, message] = faultOf(text, (d) => d.field('a').elements()[0]?.field('size').integer());
  expect(at).toBe('p.yaml:3:11: "size: big"');
  expect(message).toMatch(/expected a whole number.*, got "big"/);
});

test('a missing member is shown at the nearest place that is there', () => {
  const [at] = faultOf('a:\n  b: 1\n', (d) => d.field('a').field('c').string());
  expect(at).toMatch(/^p\.yaml:2:/);
});

test('aliases, text that is not UTF-8 and endless documents are refused', () => {
  expect(faultOf('a: &x [1]\nb: *x\n', () => undefined)[1]).toMatch(/aliases/);
  expect(() => openYaml('p.yaml', new Uint8Array([0x61, 0xff]))).toThrow(/1 MiB of UTF-8/);
  expect(() => openYaml('p.yaml', new Uint8Array(1024 * 1024 + 1).fill(0x20))).toThrow(/1 MiB of UTF-8/);
  expect(openYaml('p.yaml', utf8('a: 1\n')).field('a').integer()).toBe(1);
});

test('a key stands once, however it is written, and is a word or a number; the version is 1.2', () => {
  const whole = (document: ReturnType<typeof openYaml>) => document.value;
  expect(faultOf('a: 1\nb:\n  c: 1\n  c: 2\n', whole)).toEqual([
    'p.yaml:4:3: "c: 2"',
    'expected YAML: each key once, got "c" twice',
  ]);
  expect(faultOf('- {1: a, "1": b}\n', whole)[1]).toContain('got "1" twice');
  expect(faultOf('? {a: 1}\n: 2\n', whole)[1]).toContain('keys that are words or numbers');
  // In YAML 1.1 this would be `true`.
  expect(faultOf('%YAML 1.1\n---\na: yes\n', whole)[1]).toContain('version 1.2');
  expect(openYaml('p.yaml', utf8('%YAML 1.2\n---\na: yes\n')).field('a').string()).toBe('yes');
});

test('many keys and many elements take time in proportion', () => {
  const keys = Array.from({ length: 15_000 }, (_, i) => `k${i}: 1\n`).join('');
  expect(openYaml('p.yaml', utf8(keys)).members()).toHaveLength(15_000);
  expect(openYaml('p.yaml', utf8(`[${'1,'.repeat(130_000)}1]`)).elements()).toHaveLength(130_001);
}, 20_000);
