// SPDX-License-Identifier: Apache-2.0
// What a step wanted and did not have, whether it minded (its log tells) or not (`build --audit` tells): by path, with the input that
// would provide it.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Absent, findAbsent } from '../../builder/absent.ts';
import { build } from '../../builder/build.ts';
import { filesOfPackages, filesOfTree } from '../../builder/elsewhere.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock, type LockedPackage } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
import { parseTrace } from '../../builder/trace.ts';
import { parseAttributeReport } from '../../core/intoto/scai.ts';
import { parseStatement } from '../../core/intoto/statement.ts';
import { ARCHITECTURE, type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';
import { makeFolder, sha256 } from './inputs/workshop.ts';

const base = makeFolder({
  'own/lib/here.h': 'here',
  'own/run': '#!/usr/bin/nolua\n',
  'sdk/include/odd.h': 'odd',
});
execFileSync('chmod', ['755', join(base, 'own/run')]);
const BLOB = 'far away';
let requests = 0;
const server = createServer((_, response) => {
  requests++;
  response.end(BLOB);
});
let archive: Archive;
let lock: Lock;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  archive = makeArchive([TOOLBOX, { name: 'extra', files: { 'opt/extra.txt': 'x' } }]);
  const options = { folder: base, mirror: archive.url, store: new ContentStore(join(base, 'cache')) };
  lock = await lockInputs(readYaml(definition('true')), options);
});
afterAll(async () => {
  archive.close();
  await new Promise((resolve) => server.close(resolve));
  rmSync(base, { recursive: true, force: true });
});

/** The step `make` lists the inputs `tools` and `own` alone; `last` has the others, `gen` makes a file. */
function definition(command: string): string {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/blob.bin`;
  const inputs = `inputs:
  own: { kind: folder, role: source, path: own }
  sdk: { kind: folder, role: source, path: sdk }
  far: { kind: file, role: blob, url: '${url}', sha256: '${sha256(BLOB)}' }
  more: { kind: debian, role: toolchain, distribution: waybill-test, suite: test, components: [main],
    architecture: ${ARCHITECTURE}, keyring: ${archive.keyring}, packages: [extra] }
`;
  const make = stepYaml(`${command}\necho >image.bin`).replace('[tools]', '[tools, own]');
  const steps = `${make}  - { name: gen, inputs: [tools], command: echo >gen.h, outputs: [{ path: gen.h }] }
  - name: last
    inputs: [tools, more, sdk, far]
    materials: [make/image.bin]
    command: cp /materials/make/image.bin last.bin
    outputs: [{ path: last.bin }]
`;
  return yamlOver(archive, steps, { image: 'last/last.bin' }).replace('inputs:\n', inputs);
}

let outs = 0;
function run(command: string, more: { audit?: true; cache?: string } = {}) {
  const text = definition(command);
  const out = join(base, `out-${++outs}`);
  return build({
    ...{ definition: readYaml(text), lock, out, cache: join(base, 'cache'), folder: base, replace: false },
    definitionBytes: Buffer.from(text),
    lockBytes: formatLock(lock),
    builderId: 'https://waybill.example/builders/test',
    toolVersion: '0.0.0',
    mirror: archive.url,
    jobs: 1,
    ...more,
  });
}

test('what a step went without is told: by path, with the input that has it', async () => {
  const { audit, out } = await run(
    `exec 2>/dev/null
cat /inputs/sdk/include/odd.h || true
cat /usr/include/odd.h /usr/local/include/odd.h || true
cat /opt/extra.txt || true
cat /materials/gen/gen.h || true
python3 -V || env perl6 || true
/inputs/own/run || true
cat /etc/nothing || true
cat /opt/lib/here.h || cat /inputs/own/lib/here.h
cat /build/later /tmp/none /proc/none /dev/none || true`,
    { audit: true },
  );
  const sdk = 'the input sdk has /inputs/sdk/include/odd.h: add sdk to the inputs of the step';
  const bins = (name: string) =>
    ['/bin', '/sbin', '/usr/bin', '/usr/sbin'].map((folder) => `${folder}/${name}`);
  const expected = [
    { name: 'perl6', paths: bins('perl6') },
    { name: 'python3', paths: bins('python3'), hint: 'try the package python3' },
    {
      name: 'include/odd.h',
      paths: ['/inputs/sdk/include/odd.h', '/usr/include/odd.h', '/usr/local/include/odd.h'],
      hint: sdk,
    },
    {
      name: '/materials/gen/gen.h',
      hint: 'the step gen makes it: add gen/gen.h to the materials of the step',
    },
    { name: '/etc/nothing' },
    {
      name: '/opt/extra.txt',
      hint: 'the package extra of the input more has /opt/extra.txt: add more to the inputs of the step',
    },
    { name: '/usr/bin/nolua' },
  ].map(({ name, paths = [name], ...hint }) => ({ step: 'make', name, paths, ...hint }));
  const byName = (list: readonly Absent[]) => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));
  expect(byName(audit?.absent ?? [])).toEqual(byName(expected));
  const file = JSON.parse(readFileSync(join(out, 'audit.json'), 'utf8'));
  expect(file.absent).toEqual(audit?.absent);
  const bytes = readFileSync(join(out, 'statements/05-audit.scai.json'));
  expect(parseAttributeReport(parseStatement(bytes)).conditions).toMatchObject({ absentCount: 7 });
}, 120_000);

test('a step that failed for want of a file is told which input it should list, and nothing is fetched to tell it', async () => {
  const told = (what: string) => ({ code: 'STEP_FAILED', message: expect.stringContaining(what) });
  const cache = join(base, 'fresh');
  requests = 0;
  await expect(run('cat /inputs/far/blob.bin', { cache })).rejects.toMatchObject(
    told('it did not find "/inputs/far/blob.bin"'),
  );
  expect(requests).toBe(0);
  const failed = (command: string) => run(command).catch((failure: Error) => failure);
  for (const [command, hint] of [
    ['cat /inputs/sdk/include/odd.h', 'the input sdk has /inputs/sdk/include/odd.h: add sdk to the inputs'],
    ['cat /inputs/far/blob.bin', 'the input far has /inputs/far/blob.bin: add far to the inputs of the step'],
    ['cat here.h', 'the input own has /inputs/own/lib/here.h)'],
    ['cat /opt/extra.txt', 'the package extra of the input more has /opt/extra.txt: add more to the inputs'],
    ['cat gen.h', 'the step gen makes it: add gen/gen.h to the materials of the step'],
  ] as const)
    expect(await failed(command)).toMatchObject(told(hint));
}, 120_000);

describe('the log of strace', () => {
  const START = `1 execve("/usr/bin/bwrap", ["/usr/bin/bwrap"...], 0x7 /* 0 vars */) = 0
2 openat(AT_FDCWD</>, "/opt/of-the-sandbox", O_RDONLY) = -1 ENOENT (No such file or directory)
2 execve("/bin/sh", ["/bin/sh"...], 0x7 /* 9 vars */) = 0
`;
  const GONE = '-1 ENOENT (No such file or directory)';
  const absent = (lines: readonly string[]) => [...parseTrace(START + lines.join('\n')).absent];

  test('tells what was looked for in vain, relative to where it was looked for', () => {
    const found = absent([
      `2 openat(AT_FDCWD</inputs/a>, "../b/one.h", O_RDONLY) = ${GONE}`,
      `2 openat(7</opt>, "two.h", O_RDONLY) = -1 ENOTDIR (Not a directory)`,
      '2 openat(AT_FDCWD</build>, "/opt/forbidden", O_RDONLY) = -1 EACCES (Permission denied)',
      `2 access("/opt/a \\"b\\"", R_OK <unfinished ...>`,
      `3 newfstatat(3</opt/c>, "", 0x7ff, AT_EMPTY_PATH) = ${GONE}`,
      `2 <... access resumed>) = ${GONE}`,
      `2 execve("three", ["x"...], 0x5 /* 9 vars */) = ${GONE}`,
    ]);
    expect(found).toEqual(['/inputs/b/one.h', '/opt/two.h', '/opt/a "b"']);
  });

  test('settles a search by what it found, whoever found it and whenever', () => {
    const miss = (path: string) => `2 openat(AT_FDCWD</build>, "${path}", O_RDONLY) = ${GONE}`;
    const found = absent([
      miss('/usr/a/x.h'),
      miss('/usr/b/x.h.gch'),
      miss('/usr/lib/libm.so'),
      miss('/usr/b/y.h.gch'),
      miss('/build/z.h'),
      miss('/tmp/z.h'),
      '9 openat(AT_FDCWD</build>, "/inputs/x.h", O_RDONLY) = 4</inputs/real.h>',
      '9 access("/usr/lib/libm.a", R_OK) = 0',
    ]);
    expect(found).toEqual(['/usr/b/y.h.gch']);
  });
});

describe('names of what is absent', () => {
  const names = (...paths: string[]) =>
    findAbsent('make', paths, { owners: new Map() }, []).map(({ name }) => name);

  test('are what all places of a search have in common', () => {
    expect(names('/a/sys/x.h', '/b/sys/x.h', '/c/d')).toEqual(['sys/x.h', '/c/d']);
    expect(names('/x', '/a/x')).toEqual(['x']);
  });

  test.each([
    '/etc/ld.so.cache',
    '/usr/lib/locale/C.utf8/LC_CTYPE',
    '/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3',
    '/lib/x86_64-linux-gnu/tls/x86_64',
    '/usr/lib/gcc/avr/5.4.0/specs',
    '/usr/lib/avr/lib/avr/5.4.0/avr5',
    '/bin/arm-none-eabi-gnm',
    '/usr/lib/gcc/avr/5.4.0/collect-ld',
    '/inputs/firmware/RCS',
  ])('leave out what programs look for by habit: %s', (path) => {
    expect(names(path)).toEqual([]);
  });

  test('come with hints that show no control characters', () => {
    const entry = { name: 'odd', sha256: sha256('odd') } as LockedPackage;
    const packages = filesOfPackages('more', [entry], { owners: new Map([['opt/\u001b[2Jx.h', entry]]) });
    const tree = filesOfTree({ name: 'own', folder: makeFolder({ '\u001by.h': '' }) }, true);
    const hints = (name: string) =>
      findAbsent('make', [`/a/${name}`, `/b/${name}`], { owners: new Map() }, [packages, tree]);
    expect(hints('\u001b[2Jx.h')[0]?.hint).toMatch(
      /^the package odd of the input more has \/opt\/\\u001b\[2Jx/,
    );
    expect(hints('\u001by.h')[0]?.hint).toBe('the input own has /inputs/own/\\u001by.h');
  });
});
