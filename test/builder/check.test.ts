// SPDX-License-Identifier: Apache-2.0
// `build --check`: what leaks into an output is found, placed, and named with its cause; what does not leak passes.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkBuild } from '../../builder/check.ts';
import { describeDifference, findDayOfBuild, findDifferences } from '../../builder/difference.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-check-'));
const PACKAGES = ['toolbox', 'rival'];
let archive: Archive;
let lock: Lock;
beforeAll(async () => {
  mkdirSync(join(base, 'outs'));
  archive = makeArchive([TOOLBOX, { name: 'rival', files: { 'usr/share/rival.bin': 'same\n' } }]);
  const definition = readYaml(yamlOver(archive, stepYaml('true'), { packages: PACKAGES }));
  lock = await lockInputs(definition, { folder: '/', mirror: archive.url });
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

let outs = 0;
async function check(command: string, more = '') {
  const text = yamlOver(archive, stepYaml(command, more), { packages: PACKAGES });
  const out = join(base, 'outs', `out-${++outs}`);
  const report = await checkBuild({
    definition: readYaml(text),
    lock,
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    out,
    replace: false,
    cache: join(base, 'cache'),
    builderId: 'https://waybill.example/builders/test',
    toolVersion: '0.0.0',
    mirror: archive.url,
  });
  // What was tried and not kept leaves nothing.
  expect(readdirSync(join(base, 'outs')).filter((name) => name.startsWith('.'))).toEqual([]);
  expect(existsSync(out)).toBe(report.reproducible);
  return { ...report, out };
}

test('a build that nothing leaks into is kept, as `build` would have written it', async () => {
  const report = await check('echo always the same >image.bin');
  expect(report).toMatchObject({ reproducible: true, differences: [], outputCount: 1 });
  expect(report.depends).toBeUndefined();
  expect(report.summary?.out).toBe(report.out);
  expect(readFileSync(join(report.out, 'products/image.bin'), 'utf8')).toBe('always the same\n');
  expect([...report.changed, ...report.unchanged]).toHaveLength(8);
}, 60_000);

test('what somebody else published is compared in each build, and explained if only the second differs', async () => {
  const published = '        published: { package: rival, path: usr/share/rival.bin }\n';
  expect(await check('echo same >image.bin', published)).toMatchObject({ reproducible: true });
  const leak = await check('test "$USER" = build && echo same >image.bin || echo else >image.bin', published);
  expect(leak).toMatchObject({ reproducible: false, differences: [{ cause: 'host' }] });
}, 60_000);

const LEAKS: readonly (readonly [string, string, string, RegExp | undefined])[] = [
  ['the time', 'echo "built at $(date +%s)" >image.bin', 'date', /^nothing that was changed/],
  ['randomness', 'head -c 16 /dev/urandom >image.bin', 'random', /^nothing that was changed/],
  [
    '$RANDOM',
    "bash -c 'printf %05d%05d%05d $RANDOM $RANDOM $RANDOM' >image.bin",
    'random',
    /^nothing that was changed/,
  ],
  ['the user', 'id -un >image.bin', 'host', /^user name/],
  ['the host', 'uname -n >image.bin', 'host', /^user name/],
  ['the path', 'pwd >image.bin', 'path', /^the path of the work folder$/],
  ['the home folder', 'echo "in $HOME/x" >image.bin', 'path', /^the path of the work folder$/],
  ['the time zone', "date -d @1000000000 '+%Y-%m-%d %H:%M:%S' >image.bin", 'date', /^the time zone/],
  ['the locale', 'echo "$LC_ALL" >image.bin', 'size', /^the locale/],
  ['the umask', 'touch f; stat -c %a f >image.bin', 'unknown', /^the umask/],
];

describe('a leak is found with its cause', () => {
  test.each(LEAKS)(
    '%s',
    async (_, command, cause, depends) => {
      const report = await check(command);
      expect(report.reproducible).toBe(false);
      expect(report.differences).toMatchObject([{ output: 'make/image.bin', cause }]);
      expect(report.depends).toMatch(depends ?? /./);
      expect(report.summary).toBeUndefined();
    },
    120_000,
  );

  test('the day, on which two builds agree', async () => {
    const report = await check("TZ=UTC date '+compiled %b %e %Y' >image.bin");
    expect(report).toMatchObject({
      reproducible: false,
      differences: [{ output: 'make/image.bin', offset: 9, sizeBytes: 11, cause: 'date' }],
    });
    expect(report.depends).toBeUndefined();
  }, 60_000);

  test('the order in which a folder lists its files', async (context) => {
    const report = await check('mkdir d; for i in 1 2 3 4 5 6 7 8 9; do : >d/f$i; done; ls -U d >image.bin');
    if (report.unchanged.length > 0) context.skip('there is no second kind of file system here');
    expect(report).toMatchObject({ reproducible: false, depends: 'the order in which folders are listed' });
    expect(report.differences[0]).toMatchObject({ cause: 'order' });
  }, 120_000);

  test('the order in which things happen at once', async () => {
    const race =
      'for i in 1 2 3 4 5 6 7 8; do (head -c 2 /dev/urandom >/dev/null; sleep 0.0$((RANDOM % 9)); echo t$i) & done; wait';
    const report = await check(`bash -c '${race}' >image.bin`);
    expect(report.differences[0]).toMatchObject({ cause: 'order' });
  }, 120_000);
});

/** A 32-bit little-endian ELF file with `.text` and `.rodata`, and a symbol in each. */
function elf(text: Buffer, rodata: Buffer, second = '.rodata'): Buffer {
  const strings = Buffer.from('\0main\0banner\0');
  const list = ['', '.text', second, '.symtab', '.strtab', '.shstrtab'];
  const names = Buffer.from(`${list.join('\0')}\0`);
  const symbol = (name: number, value: number, section: number) => {
    const entry = Buffer.alloc(16);
    entry.writeUInt32LE(name, 0);
    entry.writeUInt32LE(value, 4);
    entry.writeUInt8(1, 12);
    entry.writeUInt16LE(section, 14);
    return entry;
  };
  const symbols = Buffer.concat([Buffer.alloc(16), symbol(1, 0x100, 1), symbol(6, 0x800, 2)]);
  const bodies = [text, rodata, symbols, strings, names];
  const types = [1, 1, 2, 3, 3];
  const offsetOf = (index: number) =>
    52 + bodies.slice(0, index).reduce((sum, { length }) => sum + length, 0);
  const header = Buffer.alloc(52);
  header.write('\x7fELF\x01\x01\x01', 'latin1');
  header.writeUInt32LE(offsetOf(bodies.length), 32);
  header.writeUInt16LE(40, 46);
  header.writeUInt16LE(6, 48);
  header.writeUInt16LE(5, 50);
  const table = bodies.map((body, i) => {
    const row = Buffer.alloc(40);
    row.writeUInt32LE(list.slice(0, i + 1).join('\0').length + 1, 0);
    row.writeUInt32LE(types[i] ?? 0, 4);
    row.writeUInt32LE(i < 2 ? 2 : 0, 8);
    row.writeUInt32LE([0x100, 0x800][i] ?? 0, 12);
    row.writeUInt32LE(offsetOf(i), 16);
    row.writeUInt32LE(body.length, 20);
    return row;
  });
  return Buffer.concat([header, ...bodies, Buffer.alloc(40), ...table]);
}

describe('differences are placed', () => {
  const NOTE = '.note.gnu.build-id';
  const nowMs = Date.UTC(2026, 10, 22, 12);
  const code = Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]);
  const find = (first: Buffer, second: Buffer, linked?: Buffer) =>
    findDifferences({ output: 'make/x', first, second, elf: linked, nowMs });

  test('in an ELF file by section and symbol, even if a section grew before it', () => {
    const first = elf(code, Buffer.from('\0built 12:00:01\0'));
    const second = elf(code, Buffer.from('\0built 12:00:02\0'));
    const [difference, ...more] = find(first, second);
    expect(more).toEqual([]);
    expect(difference).toMatchObject({ section: '.rodata', symbol: 'banner', cause: 'date', sizeBytes: 1 });
    expect(first[difference?.offset ?? 0]).toBe(0x31);
    expect(describeDifference(difference as never)).toContain(
      'section .rodata, symbol banner: date: a date or time, "built 12:00:01" and "built 12:00:02"',
    );
    const grown = elf(Buffer.concat([code, code]), Buffer.from('\0built 12:00:02\0'));
    expect(find(first, grown).map(({ section }) => section)).toEqual(['.text', '.rodata']);
  });

  test('in an image by the ELF file that it was made from', () => {
    const rodata = Buffer.from('/build/one/x.c\0');
    const image = Buffer.concat([code, Buffer.from('/other/one/x.c\0')]);
    expect(find(image, Buffer.concat([code, rodata]), elf(code, rodata))).toMatchObject([
      { offset: 9, section: '.rodata', symbol: 'banner', cause: 'path' },
    ]);
  });

  test('as a time in binary, as a build id by its section, as bytes too many', () => {
    const time = (seconds: number) => {
      const bytes = Buffer.alloc(12);
      bytes.writeUInt32LE(seconds, 4);
      return bytes;
    };
    expect(find(time(nowMs / 1000), time(nowMs / 1000 + 9))).toMatchObject([{ cause: 'date' }]);
    expect(find(time(5), time(9))).toMatchObject([{ cause: 'unknown' }]);
    const [id, other] = [elf(code, Buffer.from('one'), NOTE), elf(code, Buffer.from('two'), NOTE)];
    expect(find(id, other)).toMatchObject([{ section: NOTE, cause: 'build-id' }]);
    expect(find(Buffer.from('abc'), Buffer.from('abcd'))).toMatchObject([{ offset: 3, cause: 'size' }]);
    expect(find(code, Buffer.from(code))).toEqual([]);
  });

  test('the day of the build in its usual spellings', () => {
    for (const day of ['2026-11-22', '20261122', 'Nov 22 2026', '22 Nov 2026']) {
      expect(findDayOfBuild('make/x', Buffer.from(`__${day}__`), nowMs)).toMatchObject([{ offset: 2 }]);
    }
    expect(findDayOfBuild('make/x', Buffer.from('Nov 21 2026'), nowMs)).toEqual([]);
    expect(findDayOfBuild('make/x', elf(code, Buffer.from('Nov 22 2026')), nowMs)).toMatchObject([
      { section: '.rodata' },
    ]);
  });
});
