// SPDX-License-Identifier: Apache-2.0
// `build --audit`: what steps open is seen whoever opens it, sorted, and enough to build again; what is not enough is said.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBuildOutput } from '../../attest/build-output.ts';
import { build } from '../../builder/build.ts';
import { findClockEscapes } from '../../builder/clock-escapes.ts';
import { lockInputs } from '../../builder/lock.ts';
import { formatLock, type Lock } from '../../builder/lock-file.ts';
import { parseTrace } from '../../builder/trace.ts';
import { parseAttributeReport } from '../../core/intoto/scai.ts';
import { parseStatement } from '../../core/intoto/statement.ts';
import { parseTestResult } from '../../core/intoto/test-result.ts';
import { type Archive, makeArchive, TOOLBOX } from './archive.ts';
import { readYaml, stepYaml, yamlOver } from './definitions.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-audit-'));
const PACKAGES = ['source'];
let archive: Archive;
let lock: Lock;
beforeAll(async () => {
  mkdirSync(join(base, 'outs'));
  archive = makeArchive([
    TOOLBOX,
    {
      name: 'source',
      depends: 'toolbox',
      files: {
        'usr/src/used.c': 'used',
        'usr/src/by-link.c': 'linked',
        'usr/src/looked-for': '',
        'usr/src/unused.c': 'unused',
        'usr/bin/script': '#!/bin/bash\necho from a script\n',
        'usr/lib/source/here': '#!/bin/bash\necho ran here\n',
        'usr/lib/source/there': '#!/bin/bash\necho ran there\n',
      },
      links: { 'usr/src/link.c': 'by-link.c', 'usr/src/dangling.c': 'unused.c' },
    },
  ]);
  const definition = readYaml(yamlOver(archive, stepYaml('true'), { packages: PACKAGES, role: 'source' }));
  lock = await lockInputs(definition, { folder: '/', mirror: archive.url });
});
afterAll(() => {
  archive.close();
  rmSync(base, { recursive: true, force: true });
});

let outs = 0;
async function audited(steps: string, image = 'make/image.bin') {
  const text = yamlOver(archive, steps, { packages: PACKAGES, role: 'source', image });
  const out = join(base, 'outs', `out-${++outs}`);
  const { audit } = await build({
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
    audit: true,
  });
  if (audit === undefined) throw new Error('the audit was asked for');
  const json = (name: string) => JSON.parse(readFileSync(join(out, name), 'utf8'));
  const statement = (name: string) => parseStatement(readFileSync(join(out, 'statements', name)));
  return { audit, out, json, statement };
}

interface AuditFile {
  readonly packages: readonly { name: string; ran: string[]; read: string[]; unexplained: string[] }[];
  readonly made: readonly string[];
  readonly machine: readonly string[];
}

const COMMAND = `cat /usr/src/used.c /usr/src/link.c >image.bin
(cd /usr/src && cat ../src/used.c) >>image.bin
script >>image.bin
cat /proc/version /etc/passwd >/dev/null`;

test('what was opened is known file by file, proves enough to build again, and is stated', async () => {
  const { audit, out, json, statement } = await audited(stepYaml(COMMAND));
  const file: AuditFile = json('audit.json');
  const of = (name: string) => file.packages.find((one) => one.name === name);
  expect(of('source')).toMatchObject({
    ran: ['usr/bin/script'],
    read: ['usr/src/by-link.c', 'usr/src/used.c'],
    unexplained: ['usr/src/by-link.c', 'usr/src/used.c'],
  });
  const ran = of('toolbox')?.ran ?? [];
  for (const path of [/bin\/dash$/, /bin\/cat$/, /bin\/bash$/, /libc\.so\.6$/, /ld-linux/])
    expect(ran).toContainEqual(expect.stringMatching(path));
  expect(ran).not.toContainEqual(expect.stringMatching(/bin\/(?:sort|bwrap)$/));
  expect(file.made).toEqual(['etc/passwd']);
  expect(file.machine).toContain('/proc/version');
  expect(audit).toMatchObject({ unexplainedCount: 2, prune: { passed: ['make'], failed: [], reasons: [] } });
  expect(audit.prune.removedCount).toBeGreaterThan(10);

  const formula = json('sboms/image.bin.cdx.json').formulation[0].components as {
    name: string;
    evidence?: { occurrences: { location: string }[] };
  }[];
  const named = formula
    .find(({ name }) => name === 'source')
    ?.evidence?.occurrences.map(({ location }) => location);
  expect(named).toEqual(['usr/bin/script', 'usr/src/by-link.c', 'usr/src/used.c']);

  expect(parseAttributeReport(statement('03-audit.scai.json'))).toMatchObject({
    attribute: 'WAYBILL_INPUTS_TRACED',
    conditions: { openedCount: audit.openedCount, unexplainedCount: 2, usedCount: 0 },
    evidence: { name: 'audit.json' },
  });
  expect(parseTestResult(statement('04-prune.test-result.json'))).toMatchObject({
    result: 'PASSED',
    passedTests: ['prune-and-rebuild/make'],
    failedTests: [],
  });
  const { statements, audit: evidence } = await readBuildOutput(out);
  expect(evidence?.sha256).toBe(parseAttributeReport(statement('03-audit.scai.json')).evidence.sha256);
  expect(statements.map(({ name }) => name)).toEqual([
    '01-make.provenance.json',
    '02-image.bin.sbom.json',
    '03-audit.scai.json',
    '04-prune.test-result.json',
  ]);
}, 60_000);

test('a program that is run by a relative name, or through a link of the step, is known with what it is run with', async () => {
  const command = `ln -s /usr/lib/source/there tool
ln -s /usr/lib/source folder
echo "#!$(command -v sort)" >sorted
echo 'from the work folder' >>sorted
chmod +x sorted
./tool >image.bin
./sorted >>image.bin
cd folder
./here >>/build/image.bin`;
  const { audit, json } = await audited(stepYaml(command));
  const file: AuditFile = json('audit.json');
  expect(file.packages.find(({ name }) => name === 'source')?.ran).toEqual([
    'usr/lib/source/here',
    'usr/lib/source/there',
  ]);
  const toolbox = file.packages.find(({ name }) => name === 'toolbox')?.ran;
  expect(toolbox).toContainEqual(expect.stringMatching(/bin\/sort$/));
  expect(file.made).not.toContainEqual(expect.stringMatching(/^build/));
  expect(audit.prune).toMatchObject({ passed: ['make'], failed: [], reasons: [] });
}, 60_000);

test('a build that needs a file which it does not open fails when it is pruned, and says so', async () => {
  const first = stepYaml('test -e /usr/src/looked-for && echo there >image.bin || echo gone >image.bin');
  const second = `  - name: last
    inputs: [tools]
    materials: [make/image.bin]
    command: test -e /usr/src/looked-for && cat /materials/make/image.bin >last.bin
    outputs:
      - path: last.bin
`;
  const { audit, statement, out } = await audited(first + second, 'last/last.bin');
  expect(audit.prune).toMatchObject({ passed: [], failed: ['make', 'last'] });
  expect(audit.prune.reasons).toEqual([
    'make/image.bin differs',
    expect.stringContaining('step last to succeed'),
  ]);
  expect(readFileSync(join(out, 'products/last.bin'), 'utf8')).toBe('there\n');
  expect(parseTestResult(statement('05-prune.test-result.json'))).toMatchObject({ result: 'FAILED' });
}, 60_000);

describe('the log of strace', () => {
  const START = `1 execve("/usr/bin/prlimit", ["/usr/bin/prlimit"...], 0x7 /* 0 vars */) = 0
1 openat(AT_FDCWD</>, "/lib/host.so", O_RDONLY|O_CLOEXEC) = 3</lib/host.so>
1 execve("/usr/bin/bwrap", ["/usr/bin/bwrap"...], 0x7 /* 0 vars */) = 0
2 openat(AT_FDCWD</>, "/proc", O_RDONLY) = 3</proc>
2 execve("/bin/sh", ["/bin/sh"...], 0x7 /* 9 vars */) = 0
`;

  test('begins for us where the command of the step does', () => {
    const { read, ran } = parseTrace(`${START}1 openat(AT_FDCWD</>, "late", O_RDONLY) = 4</late>
2 openat(AT_FDCWD</build>, "a \\"b\\"", O_RDONLY) = 3</build/a "b">
3 execve("/usr/bin/\\303\\244", ["x"...], 0x5 /* 9 vars */) = 0
3 +++ exited with 0 +++
`);
    expect([...ran]).toEqual(['/bin/sh', '/usr/bin/ä']);
    expect([...read]).toEqual(['/build/a "b"']);
  });

  test('is not misled by programs and files of a step that have the names of other things', () => {
    const start = START.replace(/2 execve.*\n/, '');
    const { read, ran } = parseTrace(`${start}2 execve("/usr/bin/env", ["env"...], 0x7 /* 9 vars */) = 0
2 openat(AT_FDCWD</build>, "/inputs/a", O_RDONLY) = 3</inputs/a>
2 openat(AT_FDCWD</build>, "x <unfinished ...>/b", O_RDONLY) = 4</inputs/b>
2 openat(AT_FDCWD</build>, "c", O_RDONLY) = 5</build/c <unfinished ...\\x3e>
`);
    expect([...ran]).toEqual(['/usr/bin/env']);
    expect([...read]).toEqual(['/inputs/a', '/inputs/b', '/build/c <unfinished ...>']);
  });

  test('is put together where two processes wrote at once', () => {
    const { read } = parseTrace(`${START}2 openat(AT_FDCWD</build>, "one", O_RDONLY <unfinished ...>
3 openat(AT_FDCWD</build>, "two", O_RDONLY) = 3</two>
2 <... openat resumed>) = 4</one>
`);
    expect([...read]).toEqual(['/two', '/one']);
  });

  test('names programs by the folder that a process was in, as other calls of it say before or after', () => {
    const { ran } =
      parseTrace(`${START}2 openat(AT_FDCWD</build>, "x", O_RDONLY) = -1 ENOENT (No such file or directory)
2 execve("./before", [...], 0x5 /* 9 vars */) = 0
3 execve("after", [...], 0x5 /* 9 vars */) = 0
3 access("/etc/ld.so.preload", R_OK)     = -1 ENOENT (No such file or directory)
3 openat(AT_FDCWD</usr/lib>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
3 chdir("/inputs/a")                     = 0
3 execve("./moved", [...], 0x5 /* 9 vars */) = 0
3 fchdir(4</inputs/b>)                   = 0
3 execve("../by-descriptor", [...], 0x5 /* 9 vars */) = 0
3 chdir("/inputs/gone")                  = -1 ENOENT (No such file or directory)
3 execve("still", [...], 0x5 /* 9 vars */) = 0
3 execveat(5</inputs/c>, "of-folder", [...], 0x5 /* 9 vars */, 0) = 0
3 execveat(5</inputs/d/itself>, "", [...], 0x5 /* 9 vars */, AT_EMPTY_PATH) = 0
`);
    expect([...ran]).toEqual([
      '/bin/sh',
      '/inputs/c/of-folder',
      '/inputs/d/itself',
      '/build/./before',
      '/usr/lib/after',
      '/inputs/a/./moved',
      '/inputs/b/../by-descriptor',
      '/inputs/b/still',
    ]);
  });

  test('leaves open where a program ran that no other call places: in any folder that was entered', () => {
    const { ran } = parseTrace(`${START}2 openat(AT_FDCWD</build>, "x", O_RDONLY) = 3</build/x>
2 chdir("/inputs/a") = 0
3 execve("./untold", [...], 0x5 /* 9 vars */) = 0
3 chdir("sub") = 0
3 execve("./moved-on", [...], 0x5 /* 9 vars */) = 0
3 +++ exited with 0 +++
3 openat(AT_FDCWD</later>, "x", O_RDONLY) = 3</later/x>
`);
    const places = (name: string) => ['/build', '/inputs/a', '/later'].map((folder) => `${folder}/./${name}`);
    expect([...ran]).toEqual(['/bin/sh', ...places('untold'), ...places('moved-on')]);
  });

  test('does not grow with what a step enters and runs', () => {
    const lines = Array.from(
      { length: 1000 },
      (_, i) => `${i + 3} execve("n${i}", [...], 0x5 /* 9 vars */) = 0
2 chdir("/build/${i}") = 0
`,
    );
    expect(parseTrace(START + lines.join('')).ran.size).toBe(10_001);
  });

  test('gives a program that a thread runs the number of its process', () => {
    const log = `${START}2 openat(AT_FDCWD</build>, "x", O_RDONLY) = 3</build/x>
3 execve("./other", [...], 0x5 /* 9 vars */ <pid changed to 2 ...>
2 +++ superseded by execve in pid 3 +++
2 <... execve resumed>) = -1 (errno 18446744073709551359)
2 openat(AT_FDCWD</build>, "y", O_RDONLY) = 3</build/y>
2 +++ exited with 0 +++
`;
    expect([...parseTrace(log).ran]).toEqual(['/bin/sh', '/build/./other']);
    expect(findClockEscapes('make', log).map(({ program }) => program)).toEqual(['/bin/sh', './other']);
  });
});
