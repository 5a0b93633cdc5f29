// SPDX-License-Identifier: Apache-2.0
// Where the database should be lies something else: fsck says what is there, in the words of serve where that refuses it, too.

import { cp, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { say } from '../cli/command-line.ts';
import { RunningRegistry } from './running-registry.ts';

let home: string;
let folder: string;
const at = (name: string) => join(folder, 'state', name);

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'waybill-fsck-database-'));
  onTestFinished(() => rm(home, { recursive: true }));
  folder = join(home, 'data');
  const registry = await RunningRegistry.start();
  await registry.restart(() => cp(registry.dataFolder, folder, { recursive: true }));
  await registry.close();
});

test('a database without its main file is named, and the rest is checked', async () => {
  await rm(at('db/CURRENT'));
  await writeFile(at('blobs/sha256/x'), '');
  const { out } = await say(['fsck', folder, '--all', '--json']);
  process.exitCode = undefined;
  expect(JSON.parse(out).findings).toEqual([
    { at: 'state/db', problem: expect.stringContaining('found files without its CURRENT') },
    { at: 'state/blobs/sha256/x', problem: 'expected a folder of blobs' },
  ]);
});

test('where a link leads to nothing, fsck says what serve says', async () => {
  await rm(at('db'), { recursive: true });
  await symlink(join(home, 'disk'), at('db'));
  const [checked, served] = [await say(['fsck', folder]), await say(['serve', folder])];
  expect(checked).toMatchObject({ code: 2, out: '' });
  expect(checked.err).toContain(`where the symbolic link "${at('db')}" leads, found none`);
  expect(checked.err).toContain('that the disk is mounted');
  expect(served).toEqual(checked);
  expect(await readdir(home)).toEqual(['data']);
});
