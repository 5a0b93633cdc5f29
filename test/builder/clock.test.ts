// SPDX-License-Identifier: Apache-2.0
// The clock of a step, with Debian's own programs and Debian's libfaketime: who keeps to it, who does not, and that `build --check`
// names those that do not. Packages come from the host's mirror once and stay in the user's cache.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CheckReport, checkBuild } from '../../builder/check.ts';
import { describeClockEscape, findClockEscapes } from '../../builder/clock-escapes.ts';
import { fetchPackages } from '../../builder/fetch.ts';
import { clockLibrary } from '../../builder/fixed-answers.ts';
import { lockInputs } from '../../builder/lock.ts';
import { debianInputs, formatLock, type Lock } from '../../builder/lock-file.ts';
import { findMirror } from '../../builder/mirror.ts';
import { joinPackages, openRoot, type StepRoot } from '../../builder/root.ts';
import { runInSandbox } from '../../builder/sandbox.ts';
import { ContentStore, cacheFolder } from '../../builder/store.ts';
import { ARCHITECTURE } from './archive.ts';
import { readYaml } from './definitions.ts';

const EPOCH = 1_700_000_000;
const DATE_AND_TIME = '"Nov 14 2023" "22:13:20"';
const base = mkdtempSync(join(tmpdir(), 'waybill-clock-'));
const cache = cacheFolder(process.env, homedir());

/** A step that runs a shell command. */
const yamlOf = (command: string, shell = 'sh') => `waybill: 1
product: thing
version: 1.2.3
sourceDateEpoch: ${EPOCH}
inputs:
  tools:
    kind: debian
    role: toolchain
    distribution: debian
    suite: bookworm
    components: [main]
    architecture: ${ARCHITECTURE}
    keyring: /usr/share/keyrings/debian-archive-keyring.gpg
    packages: [dash, bash, coreutils, perl-base, cpp, make, tar, busybox-static, libfaketime]
steps:
  - name: make
    inputs: [tools]
    command: ${JSON.stringify([`/bin/${shell}`, '-e', '-c', command])}
    outputs:
      - path: image.bin
products:
  - image: make/image.bin
`;

let lock: Lock;
let root: StepRoot;
beforeAll(async () => {
  const definition = readYaml(yamlOf('true'));
  lock = await lockInputs(definition, { folder: '/', mirror: undefined });
  const store = new ContentStore(cache);
  const [input] = definition.inputs;
  if (input?.kind !== 'debian') throw new Error('the input is Debian’s');
  const mirror = await findMirror(input, {});
  root = await openRoot(joinPackages(debianInputs(lock).map(({ packages }) => packages)), {
    ...{ cache, store },
    fetch: async (wanted) => {
      await fetchPackages(store, wanted, { mirrorOf: async () => mirror });
    },
  });
}, 300_000);
afterAll(() => rmSync(base, { recursive: true, force: true }));

let runs = 0;
/** Runs a command, with the clock or without, and returns the lines it says. */
async function say(command: string, withClock = true, shell = 'sh'): Promise<string[]> {
  const [work, materials] = [join(base, `work-${++runs}`), join(base, `materials-${runs}`)];
  for (const folder of [work, materials]) mkdirSync(folder);
  writeFileSync(join(materials, 'file'), 'content');
  utimesSync(join(materials, 'file'), EPOCH, EPOCH);
  const { exitCode, log } = await runInSandbox({
    ...{ root: root.folder, work, materials, environment: [] },
    command: [`/bin/${shell}`, '-e', '-c', command],
    sourceDateEpoch: EPOCH,
    timeoutMs: 60_000,
    clock: withClock ? clockLibrary(root) : undefined,
  });
  expect([exitCode, log]).toEqual([0, log]);
  return log.trimEnd().split('\n');
}
const isNow = (seconds: string | undefined) => Math.abs(Number(seconds) - Date.now() / 1000) < 600;

describe('the same time, whenever it is asked', () => {
  test('by date, again and again', async () => {
    expect(await say('date +%s; sleep 1.1; date +%s; date')).toEqual([
      ...[String(EPOCH), String(EPOCH)],
      'Tue Nov 14 22:13:20 UTC 2023',
    ]);
    expect((await say('date +%s', false)).every(isNow)).toBe(true);
  });

  const macros = 'echo "__DATE__ __TIME__" | $without cpp -P';

  test('by __DATE__ and __TIME__: GCC follows SOURCE_DATE_EPOCH, and the clock where it is not told', async () => {
    expect(await say(macros)).toEqual([DATE_AND_TIME]);
    expect(await say(macros, false)).toEqual([DATE_AND_TIME]);
    const untold = `without="env -u SOURCE_DATE_EPOCH"\n${macros}`;
    expect(await say(untold)).toEqual([DATE_AND_TIME]);
    expect(await say(untold, false)).not.toEqual([DATE_AND_TIME]);
  });

  test('by a program that asks the C library', async () => {
    expect(await say('perl -e \'print time, "\\n"\'')).toEqual([String(EPOCH)]);
    expect((await say('perl -e \'print time, "\\n"\'', false)).every(isNow)).toBe(true);
  });
});

describe('times of files', () => {
  test('of inputs are what they are, however they are asked', async () => {
    const file = '/materials/file';
    const own = String(Math.trunc(statSync(join(root.folder, 'usr/bin/make')).mtimeMs / 1000));
    // The second and the third ask by calls that the clock library could answer otherwise.
    const ask = (path: string) =>
      `stat -c %Y ${path}; touch -r ${path} f; stat -c %Y f; tar -cf t -C / ${path.slice(1)}; tar --full-time -tvf t`;
    const at = new Date(EPOCH * 1000).toISOString().slice(0, 19).replace('T', ' ');
    for (const withClock of [true, false]) {
      const [seconds, copied, listed] = await say(ask(file), withClock);
      expect([seconds, copied]).toEqual([String(EPOCH), String(EPOCH)]);
      expect(listed).toContain(at);
      expect((await say(ask('/usr/bin/make'), withClock)).slice(0, 2)).toEqual([own, own]);
    }
  });

  test('of what a step makes are the host’s, which is said to show through', async () => {
    expect((await say('echo x >new; stat -c %Y new')).every(isNow)).toBe(true);
  });

  test('do not mislead make, and nothing is said to be in the future; what make runs has the clock', async () => {
    const makefile = 'out: in\n\t@echo made; cp in out; date +%s\nin:\n\t@echo a >in\n';
    const commands = [
      `printf '${makefile.replaceAll('\n', '\\n').replaceAll('\t', '\\t').replaceAll('%', '%%')}' >Makefile`,
      ...['make', 'make', 'sleep 0.1', 'touch in', 'make'],
    ];
    const made = ['made', String(EPOCH)];
    expect(await say(commands.join('; '))).toEqual([...made, "make: 'out' is up to date.", ...made]);
  });
});

/** Perl, which runs for longer than a second, then tells the time. */
const LONG = 'perl -e \'system("sleep 1.2"); print time, "\\n"\'';

describe('who does not keep to it', () => {
  test('programs linked statically', async () => {
    expect((await say('busybox date +%s')).every(isNow)).toBe(true);
  });

  test('bash, where nothing is before it', async () => {
    const asked = 'echo $EPOCHSECONDS; date +%s';
    expect(await say(`bash -c '${asked}'`)).toEqual([String(EPOCH), String(EPOCH)]);
    const [own, date] = await say(asked, true, 'bash');
    expect([isNow(own), date]).toEqual([true, String(EPOCH)]);
  });

  test('processes that run for longer than a second', async () => {
    const [seconds] = await say(LONG);
    expect(Number(seconds)).toBeGreaterThan(EPOCH);
    expect(isNow(seconds)).toBe(false);
  });
});

let outs = 0;
async function check(command: string, shell?: string): Promise<CheckReport> {
  const text = yamlOf(command, shell);
  return checkBuild({
    ...{ definition: readYaml(text), lock, cache, replace: false, toolVersion: '0.0.0' },
    ...{ definitionBytes: Buffer.from(text), lockBytes: formatLock(lock) },
    out: join(base, `out-${++outs}`),
    builderId: 'https://waybill.example/builders/test',
  });
}

describe('build --check', () => {
  test('finds nothing where all keep to the clock, also if it goes slower', async () => {
    const report = await check("date +%s >image.bin\nperl -e 'print time' >>image.bin");
    expect(report).toMatchObject({ reproducible: true, differences: [] });
    expect(report.changed).toContain('how fast the clock goes');
  }, 120_000);

  test.each([
    ['busybox date +%s', 'sh', 'busybox', 'not-loaded', /does not load the clock/],
    ['echo $EPOCHSECONDS', 'bash', 'bash', 'first', /before bash/],
    [LONG, 'sh', 'perl', 'long', /ran \d+\.\d s/],
  ])(
    'names who does not: %s, by %s',
    async (command, shell, program, reason, said) => {
      const report = await check(`cat /dev/null; ${command} >image.bin`, shell);
      expect(report).toMatchObject({ reproducible: false, differences: [{ cause: 'date' }] });
      const found = report.escapes?.find((one) => one.reason === reason && one.program.endsWith(program));
      expect(found).toMatchObject({ step: 'make' });
      if (found !== undefined) expect(describeClockEscape(found)).toMatch(said);
      const others = report.escapes?.filter((one) => /\/(?:cat|sleep)$/.test(one.program));
      expect(others).toEqual([]);
    },
    240_000,
  );
});

test('without strace nobody is named, and the rest is told', async () => {
  // The host's programs but for that one, where the step's user can reach them.
  chmodSync(base, 0o755);
  const tools = join(base, 'tools');
  mkdirSync(tools);
  for (const folder of ['/usr/bin', '/usr/sbin', '/bin', '/sbin']) {
    for (const name of readdirSync(folder)) {
      if (name !== 'strace' && !existsSync(join(tools, name)))
        symlinkSync(join(folder, name), join(tools, name));
    }
  }
  const before = process.env.PATH;
  process.env.PATH = tools;
  try {
    const report = await check('busybox date +%s >image.bin');
    expect(report).toMatchObject({ reproducible: false, differences: [{ cause: 'date' }] });
    expect(report.escapes).toBeUndefined();
  } finally {
    process.env.PATH = before;
  }
}, 120_000);

test('a trace tells who loaded the clock, and how long each program ran', () => {
  const library = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';
  const load = (pid: number, at: string) =>
    `${pid} ${at} openat(AT_FDCWD</build>, "${library}", O_RDONLY|O_CLOEXEC) = 3<${library}>`;
  const run = (pid: number, at: string, path: string) =>
    `${pid} ${at} execve("${path}", ["x"...], 0x7 /* 9 vars */) = 0`;
  const log = [
    run(1, '100.0', '/usr/bin/bwrap'),
    run(2, '100.1', '/bin/sh'),
    load(2, '100.2'),
    run(3, '100.3', '/usr/bin/static'),
    // One program becomes another in its place.
    run(3, '100.4', '/usr/bin/dynamic'),
    load(3, '100.4'),
    '3 100.4 +++ exited with 0 +++',
    run(4, '100.5', '/usr/bin/short'),
    load(4, '100.6'),
    run(4, '101.4', '/usr/bin/long'),
    load(4, '101.5'),
    '4 102.4 +++ exited with 0 +++',
  ].join('\n');
  expect(findClockEscapes('make', log)).toEqual([
    { step: 'make', program: '/usr/bin/static', reason: 'not-loaded', durationMs: 100 },
    { step: 'make', program: '/usr/bin/long', reason: 'long', durationMs: 1000 },
    { step: 'make', program: '/bin/sh', reason: 'long', durationMs: 2300 },
  ]);
  const bash = [run(1, '1.0', '/usr/bin/bwrap'), run(2, '1.1', '/bin/bash'), load(2, '1.2')];
  expect(findClockEscapes('make', bash.join('\n'))).toMatchObject([
    { program: '/bin/bash', reason: 'first' },
  ]);
  const later = [...log.split('\n'), run(5, '102.5', '/bin/bash'), load(5, '102.6')].join('\n');
  expect(findClockEscapes('make', later).map(({ reason }) => reason)).not.toContain('first');
});
