// SPDX-License-Identifier: Apache-2.0
// Sources that an input brings in an archive: listed, and known for the input's when a step compiled what it unpacked.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isArchive, listMembers, readMember } from '../../../builder/archive-members.ts';
import { type EvidenceStep, type InputFile, InputFiles } from '../../../builder/input-files.ts';
import type { LockedPackage } from '../../../builder/lock-file.ts';

const base = mkdtempSync(join(tmpdir(), 'waybill-members-'));
afterAll(() => rmSync(base, { recursive: true }));

const sha256 = (content: string | Buffer) => createHash('sha256').update(content).digest('hex');
const TAGGED = '/* SPDX-License-Identifier: ISC */ unit';
const PLAIN = 'plain';

/** An archive of `thing-1/unit.c` and `thing-1/lib/plain.c`, at a path below `base`. */
function pack(path: string, ...command: readonly string[]): string {
  const tree = join(base, 'tree');
  mkdirSync(join(tree, 'thing-1/lib'), { recursive: true });
  writeFileSync(join(tree, 'thing-1/unit.c'), TAGGED);
  writeFileSync(join(tree, 'thing-1/lib/plain.c'), PLAIN);
  mkdirSync(dirname(join(base, path)), { recursive: true });
  execFileSync(command[0] as string, [...command.slice(1), join(base, path), './thing-1'], { cwd: tree });
  return join(base, path);
}

describe('the members of an archive', () => {
  const expected = [
    { path: 'thing-1/lib/plain.c', sha256: sha256(PLAIN) },
    { path: 'thing-1/unit.c', sha256: sha256(TAGGED), licence: 'ISC' },
  ];
  const sorted = async (file: string) => (await listMembers(file)).sort((a, b) => (a.path < b.path ? -1 : 1));

  test.each([
    ['a.tar', ['tar', '-cf']],
    ['a.tar.gz', ['tar', '-czf']],
    ['a.tar.xz', ['tar', '-cJf']],
    ['a.zip', ['zip', '-q', '-r']],
  ])('%s', async (name, command) => {
    const file = pack(name, ...command);
    expect(isArchive(name)).toBe(true);
    expect(await sorted(file)).toEqual(expected);
    expect((await readMember(file, 'thing-1/unit.c'))?.toString()).toBe(TAGGED);
    expect(await readMember(file, 'thing-1/none.c')).toBeUndefined();
  });

  test('of what is none, is damaged, or unpacks to too much, are none', async () => {
    const file = pack('b.tar.gz', 'tar', '-czf');
    expect(isArchive('lib/libc.a') || isArchive('unit.c')).toBe(false);
    expect(await listMembers(file, PLAIN.length + TAGGED.length)).toHaveLength(2);
    expect(await listMembers(file, PLAIN.length + TAGGED.length - 1)).toEqual([]);
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.subarray(0, bytes.length / 2));
    expect(await listMembers(file)).toEqual([]);
    writeFileSync(file, 'no archive');
    expect(await listMembers(file)).toEqual([]);
  });
});

describe('a file that a step unpacked', () => {
  const owner: LockedPackage = {
    ...{ name: 'thing-source', version: '1', architecture: 'all' },
    ...{ sha256: 'd', sizeBytes: 1, path: 'x.deb' },
  };
  let step: EvidenceStep;
  beforeAll(() => {
    pack('root/usr/src/thing.tar.gz', 'tar', '-czf');
    step = {
      name: 'make',
      root: {
        folder: join(base, 'root'),
        key: '',
        records: new Map(),
        owners: new Map([['usr/src/thing.tar.gz', owner]]),
      },
      workFiles: new Map([
        ['thing-1/unit.c', sha256(TAGGED)],
        ['thing-1/changed.c', sha256('changed')],
      ]),
      outputs: new Map(),
      mounted: [],
      inputsOf: new Map([[owner, ['sources']]]),
      sourcePackages: new Set(['thing-source']),
    };
  });
  const told = async (file: InputFile | undefined) => ({
    ...{ inputs: file?.inputs, path: file?.path, member: file?.member, package: file?.package },
    ...(await file?.describe()),
  });
  const unit = {
    ...{ inputs: ['sources'], path: 'usr/src/thing.tar.gz', member: 'thing-1/unit.c', package: undefined },
    ...{ sha256: sha256(TAGGED), licence: 'ISC' },
  };

  test('is the archive’s, of a source package', async () => {
    const files = new InputFiles([step]);
    expect(await told(await files.find('make', 'thing-1/unit.c'))).toEqual({ ...unit, package: owner });
    expect(await files.find('make', 'thing-1/changed.c')).toBeUndefined();
    const tool = { ...step, sourcePackages: new Set<string>() };
    expect(await new InputFiles([tool]).find('make', 'thing-1/unit.c')).toBeUndefined();
  });

  test('or of an input under /inputs', async () => {
    const mounted = [{ name: 'sources', folder: join(base, 'root') }];
    const files = new InputFiles([{ ...step, mounted, sourcePackages: new Set() }]);
    expect(await told(await files.find('make', 'thing-1/unit.c'))).toEqual(unit);
  });

  test('is the plain file of an input rather, if there is one', async () => {
    writeFileSync(join(base, 'root/usr/src/unit.c'), TAGGED);
    const owners = new Map([...step.root.owners, ['usr/src/unit.c', owner]]);
    const files = new InputFiles([{ ...step, root: { ...step.root, owners } }]);
    expect((await files.find('make', 'thing-1/unit.c'))?.path).toBe('usr/src/unit.c');
  });

  test('is found by the name that `components:` gives it', async () => {
    const files = new InputFiles([step]);
    const name = 'sources/usr/src/thing.tar.gz/thing-1/lib/plain.c';
    const found = await files.findDeclared(name);
    expect((await found?.read())?.toString()).toBe(PLAIN);
    expect(await files.findDeclared(name.replace('sources', 'others'))).toBeUndefined();
  });
});
