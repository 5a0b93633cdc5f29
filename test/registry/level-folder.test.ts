// SPDX-License-Identifier: Apache-2.0
// Folders of databases: made whole, never made over something else.

import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Database } from '../../registry/store/database.ts';
import { hasDatabase, openLevelFolder } from '../../registry/store/level-folder.ts';

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

test('a symbolic link to a folder is followed: the database begins there, and is opened there again', async () => {
  const home = await newHome();
  for (const name of ['disk', 'disk/db', 'disk/db.0123456789ab.new', 'state']) await mkdir(join(home, name));
  const link = join(home, 'state', 'db');
  await symlink(join(home, 'disk', 'db'), link);
  for (const value of [1, 2]) {
    const database = await Database.open(link);
    await database.write([{ table: 'fact', key: [`${value}`], value: Uint8Array.of(value) }]);
    expect(await database.bytes('fact', '1')).toEqual(Buffer.of(1));
    await database.close();
  }
  expect(await readdir(join(home, 'state'))).toEqual(['db']);
  expect(await readdir(join(home, 'disk'))).toEqual(['db']);
  expect(await readdir(join(home, 'disk', 'db'))).toContain('CURRENT');
});

test.each<[string, string, (home: string) => Promise<unknown>]>([
  [
    'where the symbolic link "…" leads, found none',
    'a link that leads nowhere',
    (home) => link(home, 'disk'),
  ],
  [
    'where the symbolic link "…" leads, got links that lead in a circle',
    'to itself',
    (home) => link(home, 'db'),
  ],
  ['where the symbolic link "…" leads, got a file', 'to a file', (home) => link(home, 'file')],
  [
    'where the symbolic link "…" leads, got a way through a file',
    'past one',
    (home) => link(home, 'file/db'),
  ],
  ['"…", got a file', 'a file', (home) => writeFile(join(home, 'db'), '')],
])('expected a folder %s: %s, for who opens it and for who asks', async (says, _what, make) => {
  const home = await newHome();
  await writeFile(join(home, 'file'), '');
  await make(home);
  const folder = join(home, 'db');
  for (const ask of [Database.open, hasDatabase]) {
    await expect(ask(folder)).rejects.toMatchObject({
      code: 'REGISTRY_DATA_MISSING',
      message: `expected a folder ${says.replace('…', folder)}`,
    });
  }
  expect(await readdir(home)).toEqual(['db', 'file']);
});
const link = (home: string, to: string) => symlink(join(home, to), join(home, 'db'));

test('a beginning that fails leaves nothing beside', async () => {
  const home = await newHome();
  // As a new file system has it; in an ordinary folder it stands in the way.
  await mkdir(join(home, 'db', 'lost+found'), { recursive: true });
  await expect(Database.open(join(home, 'db'))).rejects.toMatchObject({
    code: 'REGISTRY_DATA_DAMAGED',
    message: expect.stringContaining('got one with lost+found in it, which is no mount point: remove that'),
  });
  expect(await readdir(home)).toEqual(['db']);
});

/** Opens a database in `db` of a folder, where that is a mount point. @returns codes and what lies in the folder afterwards */
function openMounted(home: string, mount: readonly string[]): readonly string[] {
  const parts = ['store/database', 'monitor/monitor-store'].map((name) =>
    JSON.stringify(join(import.meta.dirname, '..', '..', 'registry', `${name}.ts`)),
  );
  const script = `
    const { Database } = await import(${parts[0]});
    const { MonitorStore } = await import(${parts[1]});
    const { readdir } = await import('node:fs/promises');
    const codeOf = (opened) => opened.then(() => 'opened', ({ code }) => code);
    const codes = [await codeOf(Database.open('state')), await codeOf(MonitorStore.open('.'))];
    console.log(JSON.stringify([...codes, ...await readdir('.')]));`;
  const sandbox = ['--dev-bind', '/', '/', ...mount, join(home, 'state'), '--chdir', home, '--'];
  const argv = [...sandbox, process.execPath, '--input-type=module', '-e', script];
  const { stdout, stderr } = spawnSync('bwrap', argv, { encoding: 'utf8' });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

test.each(['another file system', 'another place of the same one'])(
  'a mount point of %s is refused, and nothing is left beside',
  async (which) => {
    const home = await newHome();
    const elsewhere = await newHome();
    await mkdir(join(elsewhere, 'lost+found'));
    await mkdir(join(home, 'state'));
    const isOther = which === 'another file system';
    // As a container has it: a volume in what cannot be written.
    const mount = isOther ? ['--ro-bind', home, home, '--tmpfs'] : ['--bind', elsewhere];
    const refused = 'REGISTRY_FOLDER_MOUNTED';
    expect(openMounted(home, mount)).toEqual([refused, refused, 'state']);
    if (isOther) return;
    await writeFile(join(elsewhere, 'a'), '');
    expect(openMounted(home, mount)).toEqual(['REGISTRY_DATA_DAMAGED', 'MONITOR_STATE_DAMAGED', 'state']);
  },
);
