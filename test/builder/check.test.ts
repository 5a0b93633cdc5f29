// SPDX-License-Identifier: Apache-2.0
// `build --check`: what leaks into an output is found, placed, and named with its cause; what does not leak passes.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkBuild } from '../../builder/check.ts';
import {
  describeDifference,
  findDayOfBuild,
  findDifferences,
  foldConsequences,
} from '../../builder/difference.ts';
import { contrastAt } from '../../builder/difference-cause.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
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
async function checkText(text: string, locked: Lock, folder?: string) {
  const out = join(base, 'outs', `out-${++outs}`);
  const report = await checkBuild({
    definition: readYaml(text),
    lock: locked,
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(locked),
    out,
    folder,
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
const check = (command: string, more = '') =>
  checkText(yamlOver(archive, stepYaml(command, more), { packages: PACKAGES }), lock);

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

test('bytes that are no text are shown as bytes', () => {
  const contents = (first: readonly number[], second: readonly number[]) => ({
    first: Buffer.from(first),
    second: Buffer.from(second),
    nowMs: 0,
  });
  const [one, two] = [
    [1, 2, 0xff, 4, 5, 6, 7, 8, 9, 10],
    [1, 0],
  ];
  expect(contrastAt(contents(one, two), 1)).toBe('bytes 02ff040506070809 and 00');
  expect(contrastAt(contents(one, two), 2)).toBe('bytes ff0405060708090a and none');
});

describe('a leak is found with its cause', () => {
  test.each(LEAKS)(
    '%s',
    async (_, command, cause, depends) => {
      const report = await check(command);
      expect(report.reproducible).toBe(false);
      expect(report.differences).toMatchObject([{ output: 'make/image.bin', cause }]);
      expect(report.depends?.join('; ')).toMatch(depends ?? /./);
      expect(report.summary).toBeUndefined();
    },
    120_000,
  );

  test('each change that matters is named, not only the first', async () => {
    const report = await check('echo "made by $USER" >image.bin; echo "$TZ" >>image.bin');
    expect(report.depends).toEqual(['user name, user id and host name', 'the time zone']);
    expect(report.differences[0]).toMatchObject({
      cause: 'host',
      detail: expect.stringContaining('checker'),
    });
  }, 120_000);

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
    expect(report).toMatchObject({
      reproducible: false,
      depends: ['the order in which folders are listed'],
    });
    expect(report.differences[0]).toMatchObject({ cause: 'order' });
  }, 120_000);

  test('the order in which an input lists its files', async (context) => {
    const folder = join(base, 'definition');
    mkdirSync(join(folder, 'src'), { recursive: true });
    for (let i = 0; i < 9; i++) writeFileSync(join(folder, `src/f${i}`), '');
    const input = '  src: { kind: folder, role: source, path: src }\nsteps:';
    const yaml = yamlOver(archive, stepYaml('ls -U /inputs/src >image.bin'), { packages: PACKAGES })
      .replace('steps:', input)
      .replace('inputs: [tools]', 'inputs: [tools, src]');
    const store = new ContentStore(join(base, 'cache'));
    const locked = await lockInputs(readYaml(yaml), { folder, mirror: archive.url, store });
    const report = await checkText(yaml, locked, folder);
    if (report.unchanged.length > 0) context.skip('there is no second kind of file system here');
    expect(report).toMatchObject({
      ...{ reproducible: false, depends: ['the order in which inputs are listed'] },
      differences: [{ cause: 'order' }],
    });
  }, 120_000);

  test('the order in which things happen at once', async () => {
    const race =
      'for i in 1 2 3 4 5 6 7 8; do (head -c 2 /dev/urandom >/dev/null; sleep 0.0$((RANDOM % 9)); echo t$i) & done; wait';
    const report = await check(`bash -c '${race}' >image.bin`);
    expect(report.differences[0]).toMatchObject({ cause: 'order' });
  }, 120_000);
});

/** A 32-bit little-endian ELF file with `.text` and `.rodata`, a symbol in each, and one that only says where data begins. */
function elf(text: Buffer, rodata: Buffer, second = '.rodata'): Buffer {
  const strings = Buffer.from('\0main\0banner\0$d\0');
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
  const named = [symbol(1, 0x100, 1), symbol(6, 0x800, 2), symbol(13, 0x800, 2)];
  const symbols = Buffer.concat([Buffer.alloc(16), ...named]);
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
    // What tells something comes first.
    expect(find(first, grown).map(({ section, cause }) => [section, cause])).toEqual([
      ['.rodata', 'date'],
      ['.text', 'size'],
    ]);
  });

  test('a text that got longer is found, however much moved after it, and is told first; the rest is folded', () => {
    // Values far from each other, all of which are elsewhere then.
    const values = Buffer.from(Array.from({ length: 2000 }, (_, i) => (i % 50 === 0 ? 128 + i / 50 : 0)));
    const said = (who: string, at: string) =>
      elf(code, Buffer.concat([values, Buffer.from(`fw (${who}) ${at}\0`), values]));
    const first = said('build@waybill', 'Fri Jan 30 00:00:00 UTC 2026');
    const second = said('checker@elsewhere', 'Fri Jan 30 11:00:00 CHK 2026');
    const told = ['checker', 'elsewhere'];
    const found = findDifferences({ output: 'make/x', first, second, nowMs, told });
    const detail = expect.stringContaining(
      '"fw (build@waybill) Fri Jan 30 00:00:00 UTC 2026" and "fw (checker@elsewhere) Fri Jan 30 11:00:00 CHK 2026"',
    );
    const place = { section: '.rodata', symbol: 'banner', detail };
    expect(found.slice(0, 2)).toMatchObject([
      { ...place, cause: 'host' },
      { ...place, cause: 'date' },
    ]);
    expect(found.slice(0, 2).map(({ offset }) => offset)).toEqual([
      first.indexOf('build@waybill'),
      first.indexOf('fw (build'),
    ]);
    expect(found.length).toBe(16);
    // What is not where it was tells nothing.
    expect(new Set(found.slice(2).map(({ cause }) => cause))).toEqual(new Set(['size']));
    const folded = foldConsequences(found);
    expect(folded.map(({ cause }) => cause)).toEqual(['host', 'date', 'size']);
    expect(folded[2]?.detail).toContain('at least 13 more places');
    // Where nothing tells why, all is told.
    expect(foldConsequences(found.slice(2))).toEqual(found.slice(2));
  });

  test('by what differs, not by what stands beside it', () => {
    const causes = (a: string, b: string) => find(Buffer.from(a), Buffer.from(b)).map(({ cause }) => cause);
    expect(causes('at 12:00:01 x1', 'at 12:00:01 x2')).toEqual(['unknown']);
    expect(causes('0x40 /usr/lib/a.o', '0x44 /usr/lib/a.o')).toEqual(['unknown']);
    expect(causes('0x40 /usr/lib/a.o', '0x40 /usr/lib/b.o')).toEqual(['path']);
    // Each path is where the one before it was.
    const paths = Array.from({ length: 8 }, (_, i) => `/a/path/${'n'.repeat(20)}${i}\0`).join('');
    const moved = causes(`x\0${paths}`, `x${'y'.repeat(30)}\0${paths}`);
    expect([moved.length > 4, ...new Set(moved)]).toEqual([true, 'size']);
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
