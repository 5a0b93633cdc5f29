// SPDX-License-Identifier: Apache-2.0
// Folders of databases: made whole, never made over something else.

import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Database } from '../../registry/store/database.ts';
import { openLevelFolder } from '../../registry/store/level-folder.ts';

async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'waybill-level-'));
  onTestFinished(() => rm(home, { recursive: true }));
  return home;
}

test('a database that lost its main file is not begun anew', async () => {
  const folder = join(await newHome(), 'db');
  const database = await Database.open(folder);
  await database.write([{ table: 'fact', key: ['a'], value: Uint8Array.of(1) }]);
  await database.close();
  const again = await Database.open(folder);
  expect(await again.bytes('fact', 'a')).toEqual(Buffer.of(1));
  await again.close();
  await rm(join(folder, 'CURRENT'));
  const before = await readdir(folder);
  await expect(Database.open(folder)).rejects.toMatchObject({ code: 'REGISTRY_DATA_DAMAGED' });
  expect(await readdir(folder)).toEqual(before);
});

test('what an interrupted making left is removed, and nothing like it', async () => {
  const home = await newHome();
  for (const name of ['db.0123456789ab.new', 'db.new', 'other.0123456789ab.new', 'db'])
    await mkdir(join(home, name));
  await (await openLevelFolder(join(home, 'db'))).close();
  expect(await readdir(home)).toEqual(['db', 'db.new', 'other.0123456789ab.new']);
});

test('of many at once, one opens it and the others are told of its lock', async () => {
  const folder = join(await newHome(), 'db');
  const opened = await Promise.allSettled(Array.from({ length: 8 }, () => Database.open(folder)));
  const databases = opened.filter((each) => each.status === 'fulfilled');
  const failures = opened.filter((each) => each.status === 'rejected').map(({ reason }) => reason.code);
  expect(databases).toHaveLength(1);
  expect(failures).toEqual(Array(7).fill('REGISTRY_DATA_LOCKED'));
  await databases[0]?.value.close();
});
