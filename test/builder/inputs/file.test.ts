// SPDX-License-Identifier: Apache-2.0
// Files and archives by URL and digest: what they become, and what an archive must not hold.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { ContentStore } from '../../../builder/store.ts';
import { code, layOut, lockPart, makeFolder, type Server, serve, sha256 } from './workshop.ts';

const base = makeFolder();
const store = new ContentStore(makeFolder());
const servers: Server[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

let count = 0;
/** The YAML of an input over bytes that are served from a file. */
function partOf(bytes: Uint8Array, more = ''): string {
  const path = join(base, `part-${++count}.bin`);
  writeFileSync(path, bytes);
  return `kind: file\nrole: source\nurl: ${pathToFileURL(path).href}\nsha256: ${sha256(bytes)}\n${more}`;
}
async function unpacked(bytes: Uint8Array, more: string) {
  const part = partOf(bytes, more);
  return layOut(part, await lockPart(part, store));
}

/** A header of ustar with its body: enough to write what no tar program would. */
function tarEntry(path: string, type = '0', target = '', body = ''): Buffer {
  const header = Buffer.alloc(512);
  header.write(path, 0);
  header.write('0000755\0', 100);
  header.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write(target, 157);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
  return Buffer.concat([header, Buffer.from(body), padding]);
}
const tar = (...entries: Buffer[]) => Buffer.concat([...entries, Buffer.alloc(1024)]);

describe('a file', () => {
  test('lies under its name, and its lock says where it was, its digest and its size', async () => {
    const part = partOf(Buffer.from('blob'));
    const locked = await lockPart(part, store);
    expect(locked).toMatchObject({ kind: 'file', sha256: sha256('blob'), sizeBytes: 4 });
    expect(await layOut(part, locked)).toEqual({ [`part-${count}.bin`]: '644 blob' });
  });

  test('that is another, that ends early, that is not there', async () => {
    const part = partOf(Buffer.from('blob'));
    writeFileSync(join(base, `part-${count}.bin`), 'other');
    expect(await code(lockPart(part, store))).toBe('FETCH_DIGEST_MISMATCH');
    const server = await serve((path, response) => {
      if (path === '/gone') response.writeHead(404).end();
      else {
        response.writeHead(200, { 'content-length': 9 });
        response.write('half', () => response.destroy());
      }
    });
    servers.push(server);
    const at = (path: string) =>
      `kind: file\nrole: blob\nurl: ${server.url}${path}\nsha256: ${sha256('whole')}\n`;
    expect(await code(lockPart(at('short'), store))).toBe('FETCH_TRUNCATED');
    expect(await code(lockPart(at('gone'), store))).toBe('FETCH_GONE');
    const locked = {
      name: 'part',
      kind: 'file',
      url: `${server.url}short`,
      sha256: sha256('x'),
      sizeBytes: 9,
    };
    expect(await code(layOut(at('short'), locked as never))).toBe('FETCH_TRUNCATED');
  });
});

describe('an archive', () => {
  const folder = makeFolder({
    'top/a.c': 'a',
    'top/sub/run.sh': 'run',
    [`top/${'l'.repeat(95)}/deep`]: 'deep',
  });
  execFileSync('chmod', ['755', join(folder, 'top/sub/run.sh')]);
  symlinkSync('../a.c', join(folder, 'top/sub/link'));
  const expected = {
    'a.c': '644 a',
    'sub/run.sh': '755 run',
    'sub/link': '→ ../a.c',
    [`${'l'.repeat(95)}/deep`]: '644 deep',
  };

  test.each(['--format=gnu', '--format=pax', '--format=ustar'])('of tar %s', async (format) => {
    const bytes = execFileSync('tar', ['-C', folder, format, '-c', 'top']);
    expect(await unpacked(bytes, 'unpack: tar\nstrip: 1')).toEqual(expected);
  });

  test('packed by gzip, zstd, xz, bzip2', async () => {
    const plain = execFileSync('tar', ['-C', folder, '-c', 'top']);
    const xz = execFileSync('xz', ['-0c'], { input: plain });
    const bzip2 = execFileSync('bzip2', ['-1c'], { input: plain });
    for (const bytes of [gzipSync(plain), zstdCompressSync(plain), xz, bzip2]) {
      expect(await unpacked(bytes, 'unpack: tar\nstrip: 1')).toEqual(expected);
      const short = bytes.subarray(0, bytes.length - 20);
      expect(await code(unpacked(short, 'unpack: tar'))).toBe('INPUT_ARCHIVE_MALFORMED');
    }
  });

  test('of zip', async () => {
    const path = join(base, 'made.zip');
    execFileSync('zip', ['-q', '-r', '-y', path, 'top'], { cwd: folder });
    const bytes = readFileSync(path);
    expect(await unpacked(bytes, 'unpack: zip\nstrip: 1')).toEqual(expected);
    const damaged = Buffer.from(bytes);
    damaged.writeUInt32LE(1, damaged.lastIndexOf('PK\x01\x02') + 16);
    expect(await code(unpacked(damaged, 'unpack: zip'))).toBe('INPUT_ARCHIVE_MALFORMED');
  });

  test('with a hard link holds two files', async () => {
    const bytes = tar(tarEntry('a', '0', '', 'text'), tarEntry('b', '1', 'a'));
    expect(await unpacked(bytes, 'unpack: tar')).toEqual({ a: '755 text', b: '755 text' });
  });

  test.each([
    ['a path that leaves', [tarEntry('../evil', '0', '', 'x')], 'INPUT_PATH_ESCAPES'],
    ['an inner path that leaves', [tarEntry('a/../../evil', '0', '', 'x')], 'INPUT_PATH_ESCAPES'],
    ['an absolute path', [tarEntry('/tmp/evil', '0', '', 'x')], 'INPUT_PATH_ESCAPES'],
    [
      'a path through a link',
      [tarEntry('l', '2', 'sub'), tarEntry('l/evil', '0', '', 'x')],
      'INPUT_PATH_ESCAPES',
    ],
    ['a link that leaves', [tarEntry('l', '2', '../../etc')], 'INPUT_LINK_ESCAPES'],
    ['an absolute link', [tarEntry('l', '2', '/etc/passwd')], 'INPUT_LINK_ESCAPES'],
    [
      'a link that leaves through another',
      [tarEntry('a/b/up', '2', '../..'), tarEntry('out', '2', 'a/b/up/../x')],
      'INPUT_LINK_ESCAPES',
    ],
    ['a hard link that leaves', [tarEntry('h', '1', '../../etc/passwd')], 'INPUT_PATH_ESCAPES'],
    ['a hard link to a link', [tarEntry('l', '2', 'x'), tarEntry('h', '1', 'l')], 'INPUT_PATH_ESCAPES'],
    ['a device', [tarEntry('null', '3')], 'INPUT_ARCHIVE_MALFORMED'],
    ['one path twice', [tarEntry('a', '0', '', 'x'), tarEntry('a', '0', '', 'y')], 'INPUT_PATH_TWICE'],
    [
      'a file below a file',
      [tarEntry('a', '0', '', 'x'), tarEntry('a/b', '0', '', 'y')],
      'INPUT_PATH_ESCAPES',
    ],
  ])('with %s is refused', async (_what, entries, expectedCode) => {
    expect(await code(unpacked(tar(...entries), 'unpack: tar'))).toBe(expectedCode);
    expect(await code(unpacked(tar(...entries), 'unpack: tar\nstrip: 1'))).toMatch(/^INPUT_|^none$/);
  });

  test('that is none, or ends inside a file, is refused', async () => {
    for (const bytes of [Buffer.alloc(600, 'x'), tarEntry('a', '0', '', 'x'.repeat(600)).subarray(0, 700)]) {
      expect(await code(unpacked(bytes, 'unpack: tar'))).toBe('INPUT_ARCHIVE_MALFORMED');
      expect(await code(unpacked(bytes, 'unpack: zip'))).toBe('INPUT_ARCHIVE_MALFORMED');
    }
  });

  test('of zip with a path that leaves, or a link that does, is refused', async () => {
    const inside = makeFolder({ 'a/evil': 'x' });
    mkdirSync(join(inside, 'b'));
    symlinkSync('/etc/passwd', join(inside, 'b/link'));
    const path = join(base, 'slip.zip');
    execFileSync('zip', ['-q', '-r', '-y', path, 'a/evil'], { cwd: inside });
    const slip = Buffer.from(readFileSync(path).toString('latin1').replaceAll('a/evil', '../vil'), 'latin1');
    expect(await code(unpacked(slip, 'unpack: zip'))).toBe('INPUT_PATH_ESCAPES');
    execFileSync('zip', ['-q', '-r', '-y', `${path}2.zip`, 'b'], { cwd: inside });
    expect(await code(unpacked(readFileSync(`${path}2.zip`), 'unpack: zip'))).toBe('INPUT_LINK_ESCAPES');
  });
});
